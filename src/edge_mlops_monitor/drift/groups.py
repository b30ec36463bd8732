"""One cause, one alarm: the features that were measured on one array are reported together.

A camera that goes dark changes every number that is kept of its frames. The first block in which any of
them is in alarm makes one event about the frame, which names what is wrong with it and the features that
show it. While it is open the others join it. It is over when all that raised it, and what it is named by, are
back; what joined it then goes back in silence. A camera that freezes while something else is wrong with it is
reported all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift import findings
from edge_mlops_monitor.drift.batch import Batch
from edge_mlops_monitor.drift.binning import NumericBins
from edge_mlops_monitor.drift.findings import Where, scale_of
from edge_mlops_monitor.drift.reference import QUANTILES, FeatureReference, Stream
from edge_mlops_monitor.drift.telling import alarm, named_by, words_when_over
from edge_mlops_monitor.features import array_of
from edge_mlops_monitor.quality.images import FROZEN, Level, cause
from edge_mlops_monitor.quality.stuck import RunLengths
from edge_mlops_monitor.records import DriftResult, Event

Found = list[tuple[int, "DriftResult | Event"]]  # with the block in which it was found

LAST_ROWS = 3  # of the block that raised the alarm, by which its cause is named
NINETY_EIGHT = 2.33  # standard deviations on both sides of the mean that hold 98 % of a normal variate
NAMED_AS_THEY_ARE = ("missing", "type")  # whatever else changed, there is no frame


def arrays_of(names: Iterable[str]) -> dict[str, str]:
    """The features that were measured on an array, each with the array.

    >>> arrays_of(["inputs.e.mean", "inputs.e.nonfinite", "inputs.speed.mean"])
    {'inputs.e.mean': 'inputs.e', 'inputs.e.nonfinite': 'inputs.e'}
    """
    found = {name: array_of(name) for name in names}
    arrays = {array for array, measured in found.values() if measured == "nonfinite"}
    return {name: array for name, (array, _) in found.items() if array in arrays}


def concerns(feature: str, name: str) -> bool:
    """Whether `feature` is `name`, with or without its side, or was measured on an array of that name."""
    array = array_of(feature)[0]
    return name in (feature, feature.partition(".")[2]) or (bool(array) and concerns(array, name))


def watched_as(name: str, reference: FeatureReference, known: Iterable[str]) -> FeatureReference:
    """The reference as it is to be used: of images only fingerprints can be stuck, and do nothing else."""
    array, measured = array_of(name)
    if not reference.numeric or f"{array}.fingerprint" not in known:
        return reference
    if measured != "fingerprint":
        return msgspec.structs.replace(reference, runs=RunLengths())
    missing = reference.counts[-1]
    bins = NumericBins(edges=[], cells=[0], names=["any", "missing"])
    counts, rows = [reference.n - missing, missing], float(reference.n)
    plain = msgspec.structs.replace(reference, quality=None, context="", contexts={})
    return msgspec.structs.replace(plain, bins=bins, counts=counts, tau=1.0, effective_rows=rows)


class Groups:
    """The arrays of one stream, and what is open about them.

    `open` holds by array the episodes: type, event and beginning, the features that are in it and as
    what, those on which its end depends, and whether only others are left.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.open: dict[str, list[dict[str, Any]]] = {}
        self.keep([], [])

    def keep(self, names: Sequence[str], references: Sequence[FeatureReference]) -> None:
        """Go on with these features."""
        self._arrays = arrays_of(names)
        self._places = {name: place for place, name in enumerate(names)}
        self._references = list(references)
        fingerprints = {name: self._places.get(f"{self._arrays.get(name)}.fingerprint") for name in names}
        self._shown_by = np.array(
            [self._places[name] if place is None else place for name, place in fingerprints.items()],
            dtype=np.int64,
        )
        for array, episodes in list(self.open.items()):
            for episode in episodes:
                episode["shown_by"] = [pair for pair in episode["shown_by"] if pair[0] in self._places]
            self.open[array] = [episode for episode in episodes if episode["shown_by"]]

    def whole(self, repeated: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Rows and features that are repeats, with all features of a frame where its fingerprint is."""
        return repeated | repeated[:, self._shown_by] if self._arrays else repeated

    def merge(self, found: Found, batch: Batch, opened: Sequence[Mapping[str, dict[str, Any]]]) -> Found:
        """The findings, in the order of their blocks, with those about arrays put together.

        `opened` are open alarms by feature, which are told the event that they are part of.
        """
        if not self._arrays or not any(isinstance(finding, Event) for _, finding in found):
            return found
        merged: Found = []
        for block, part in groupby(found, key=itemgetter(0)):
            alarms: dict[str, list[Event]] = {}
            for _, finding in part:
                feature = finding.data.get("feature", "") if isinstance(finding, Event) else ""
                array = self._arrays.get(feature)
                if array is None or not isinstance(finding, Event):
                    merged.append((block, finding))
                elif finding.type == "recovery":
                    merged += [(block, event) for event in self._end(array, finding)]
                else:
                    alarms.setdefault(array, []).append(finding)
            for array, events in alarms.items():
                merged += [(block, event) for event in self._begin(array, events, batch, block)]
                self._tell(array, events, opened)
        return merged

    def _begin(self, array: str, events: list[Event], batch: Batch, block: int) -> list[Event]:
        levels = self._levels(array, batch, block)
        type = self._type(array, events, levels)
        episodes = self.open.setdefault(array, [])
        now = [episode for episode in episodes if not episode["over"]]
        shown_by = [[event.data["feature"], event.type] for event in events]
        if now and (type != FROZEN or any(one["type"] == FROZEN for one in now)):
            now[-1]["shown_by"] += shown_by
            return []
        where = Where(self.stream, array, batch.last_row(block), batch.last_ts(block))
        told = alarm(type, where, events, levels)
        ends_with = [f"{array}.{field}" for field in named_by(type)] + [name for name, _ in shown_by]
        since = told.data["since"]
        episode = {"type": type, "event": told.id, "since": since, "shown_by": shown_by}
        episodes.append({**episode, "ends_with": ends_with, "over": False})
        return [told]

    def _type(self, array: str, events: list[Event], levels: Mapping[str, Level]) -> str:
        types = [event.type for event in events]
        if f"{array}.fingerprint" not in self._places or set(types) & set(NAMED_AS_THEY_ARE):
            return next((type for type in types if type in NAMED_AS_THEY_ARE), types[0])
        return cause(levels, "stuck" in types) or types[0]

    def _levels(self, array: str, batch: Batch, block: int) -> dict[str, Level]:
        """The middle one of the last values of each field of an array, and what is usual."""
        end = (block + 1) * batch.rows
        last = batch.values[max(end - LAST_ROWS, end - batch.rows) : end]
        found = {}
        for name, of in self._arrays.items():
            field, place = array_of(name)[1], self._places[name]
            reference, values = self._references[place], last[:, place]
            values = values[~np.isnan(values)]
            if of == array and field != "fingerprint" and len(values) and reference.quantiles:
                context = batch.contexts[block] if batch.contexts is not None else ""
                found[field] = _level(float(np.median(values)), reference, context)
        return found

    def _end(self, array: str, recovery: Event) -> list[Event]:
        """What there is to say when one feature is back."""
        back = [recovery.data["feature"], recovery.data["of"]]
        episodes = self.open.get(array, [])
        episode = next((one for one in episodes if back in one["shown_by"]), None)
        if episode is None:
            return [recovery]
        episode["shown_by"].remove(back)
        if not episode["shown_by"]:
            episodes.remove(episode)
        if episode["over"] or any(name in episode["ends_with"] for name, _ in episode["shown_by"]):
            return []
        episode["over"] = True
        where = Where(self.stream, array, recovery.data["row"], recovery.ts)
        type = episode["type"]
        return [findings.recovery(where, type, words_when_over(type, recovery), episode["since"])]

    def _tell(self, array: str, events: list[Event], opened: Sequence[Mapping[str, dict[str, Any]]]) -> None:
        for event in events:
            for alarms in opened:
                mine = alarms.get(event.data["feature"])
                if mine is not None and mine.get("event") == event.id:
                    mine["event"] = self._event_of(array, event)

    def _event_of(self, array: str, event: Event) -> str:
        """The event in which that about one feature was put."""
        shown_by = [event.data["feature"], event.type]
        return next(str(one["event"]) for one in self.open[array] if shown_by in one["shown_by"])


def _level(now: float, reference: FeatureReference, context: str) -> Level:
    """A number beside what is usual, in this context where the reference knows it."""
    within = reference.contexts.get(context)
    if within is not None and within.spread > 0:
        far = NINETY_EIGHT * within.spread
        return Level(now, within.mean, within.spread, within.mean - far, within.mean + far)
    low, high = (reference.quantiles[QUANTILES.index(share)] for share in (0.01, 0.99))
    return Level(now, reference.mean or 0.0, scale_of(reference), low, high)
