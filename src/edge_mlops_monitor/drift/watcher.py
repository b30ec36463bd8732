"""The watcher: takes predictions as columns and says what has changed.

It is pure: no store, no clock, no thread. The device and `replay` run the same code, and what it says
does not depend on how the rows are cut into calls.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edge_mlops_monitor.drift import checkpoint
from edge_mlops_monitor.drift.findings import Where, event
from edge_mlops_monitor.drift.groups import concerns
from edge_mlops_monitor.drift.joint import JOINT
from edge_mlops_monitor.drift.lookup import References
from edge_mlops_monitor.drift.reference import Column, FeatureReference, Stream, build
from edge_mlops_monitor.drift.reference_file import dump
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.stream import Finding, Watch
from edge_mlops_monitor.records import DriftResult

MOST_REFUSED = 4000  # names remembered
DAY = 86400.0  # after which a silent stream no longer takes a share of the budget


class Watcher:
    """Decides about every feature of every stream under one false-alarm budget.

    >>> import random
    >>> rng = random.Random(1)
    >>> settings = Settings(average_run_length=10_000, learn_reference_hours=0)
    >>> watcher = Watcher(settings)
    >>> healthy = {"inputs.a": [rng.gauss(0, 1) for _ in range(2000)]}
    >>> findings = watcher.update(("m", "1", None), healthy, [0.0] * 2000)
    >>> [finding for finding in findings if finding.kind == "events"]
    []
    >>> shifted = {"inputs.a": [rng.gauss(1, 1) for _ in range(200)]}
    >>> [finding.kind for finding in watcher.update(("m", "1", None), shifted, [0.0] * 200)][-1]
    'events'
    >>> watcher.status()[("m", "1", None)]["inputs.a"]["state"]
    'alarm'
    """

    def __init__(self, settings: Settings, references: Iterable[FeatureReference] | None = None) -> None:
        self.settings = settings
        given = list(references or ())
        self._references = References(given)
        self._fingerprint = f"{zlib.crc32((settings.algorithm + dump(given)).encode()):08x}"
        self._streams: dict[Stream, Watch] = {}
        self._newest = -math.inf
        self._now = math.nan  # when silence was listened to last
        self._refused: set[tuple[Stream, str]] = set()

    def update(self, stream: Stream, columns: Mapping[str, Column], ts: Column) -> list[Finding]:
        """Take in predictions of one stream, oldest first; what is new comes back as records.

        `columns` maps a feature to its values, one for each prediction (None is missing); `ts` holds
        the predictions' Unix seconds. Results and events carry the time of the row that decided.
        """
        rows = len(ts)
        if not rows:
            return []
        watch = self._streams.get(stream)
        if watch is None:
            watch = Watch(self.settings, stream, self._references)
        times = self._times(ts, watch)
        self._streams[stream] = watch
        self._newest = max(self._newest, float(times.max()))
        found = watch.take(columns, times, self) + self._superseded(stream)
        if not watch.known and not watch.pending:
            del self._streams[stream]
        return found

    def silence(self, now: float) -> list[Finding]:
        """Say which streams have fallen silent, and which go on; `now` is the present in Unix seconds.

        To be called every few seconds, with rows or without, once those that came are taken in. What passes
        between two calls counts for `MOST_STEP` seconds at most, since the device may have slept.
        """
        seconds = max(0.0, now - self._now) if self._now == self._now else 0.0
        self._now = now
        newest: dict[tuple[str | None, str | None], Watch] = {}  # of all versions of a model
        for (model, _, source), watch in sorted(self._streams.items(), key=lambda item: item[1].latest):
            newest[model, source] = watch
        return [
            event
            for (model, _, source), watch in self._streams.items()
            for event in watch.listen(now, seconds, newest[model, source] is not watch)
        ]

    def _superseded(self, stream: Stream) -> list[Finding]:
        """Alarms that end since this stream's version took the place of one that is silent for a day."""
        return [
            finding
            for (model, version, source), other in self._streams.items()
            if (model, source) == (stream[0], stream[2]) and version != stream[1]
            if (other.judge.alarms or other.checking.open) and other.newest < self._newest - DAY
            for finding in other.supersede()
        ]

    def _times(self, ts: Column, watch: Watch) -> Any:
        times = np.asarray(ts, dtype=np.float64)
        wrong = ~np.isfinite(times)
        if wrong.any():  # a moment that is none counts as the one before
            times = np.where(wrong, np.nan_to_num(watch.newest), times)
        return times

    def watched(self, watch: Watch) -> int:
        """Over how many features the budget of this stream is now split."""
        if watch.spending.by_rows:
            return watch.shares_taken
        live = (other for other in self._streams.values() if not other.newest < self._newest - DAY)
        return sum(other.shares_taken for other in {*live, watch})

    def admit(self, watch: Watch, names: list[str], row: int, ts: float) -> tuple[list[str], list[Finding]]:
        """As many of the new features as there is room for; the first refusal is an event."""
        limit = self.settings.maximum_features
        room = max(0, limit - sum(len(other.known) for other in self._streams.values()))
        refused = names[room:]
        if not refused:
            return names, []
        first = not self._refused
        if len(self._refused) < MOST_REFUSED:
            self._refused.update((watch.stream, name) for name in refused)
        message = f"more than {limit} features appeared; those beyond are stored but not watched"
        where = Where(watch.stream, "", row, ts)
        return names[:room], [event("features_refused", "warning", where, message, {"limit": limit})] * first

    def rows(self, stream: Stream) -> int:
        """How many predictions of a stream came in so far."""
        watch = self._streams.get(stream)
        return 0 if watch is None else watch.rows + len(watch.pending_ts)

    def in_use(self) -> dict[Stream, dict[str, FeatureReference]]:
        """The references of the features that are decided about, by stream."""
        return {
            stream: dict(zip(watch.judge.names, watch.judge.references, strict=True))
            for stream, watch in self._streams.items()
        }

    def check(self) -> list[DriftResult]:
        """The present answer about every watched feature, from its most recent rows."""
        return [
            result
            for watch in self._streams.values()
            for result in watch.results(watch.rows - 1, _moment(watch.newest))
        ]

    def status(self) -> dict[Stream, dict[str, dict[str, Any]]]:
        """By stream and feature: `state`, and what is `missing` or since when it is in alarm."""
        return {stream: watch.status() for stream, watch in self._streams.items()}

    def in_force(self, stream: Stream) -> tuple[list[str], list[FeatureReference]]:
        """The features that are decided about, and their references; other lists once they change."""
        watch = self._streams.get(stream)
        return ([], []) if watch is None else (watch.judge.names, watch.judge.references)

    def references(self) -> list[FeatureReference]:
        """All references, given and learned, to be saved."""
        learned = [reference for watch in self._streams.values() for reference in watch.learned.values()]
        return [*self._references.all(), *learned]

    def set_reference(
        self,
        feature: str,
        values: Sequence[Any],
        model: str | None = None,
        model_version: str | None = None,
        source: str | None = None,
    ) -> None:
        """Use these time-ordered values as the reference of a feature from now on."""
        keep_values = self.settings.algorithm == "ks_test"
        self.use(
            build(
                {feature: values},
                keep_values=keep_values,
                model=model,
                model_version=model_version,
                source=source,
            )
        )

    def use(self, references: Iterable[FeatureReference]) -> None:
        """Use these references from now on, in place of those for the same features."""
        for reference in references:
            self._references.add(reference)
            for watch in self._streams.values():
                known = [name for name in watch.known if reference.name in (name, name.partition(".")[2])]
                fitting = [
                    n for n in known if self._references.find(watch.stream, n, watch.known) is reference
                ]
                self._renew(watch, fitting)

    def _renew(self, watch: Watch, names: list[str]) -> None:
        """Let features be met anew without losing the references that were given for them."""
        kept = self._references.all()
        watch.forget(names)
        for reference in kept:
            if reference.pairs is None or not names:  # how a feature went together with others is over
                self._references.add(reference)

    def rebaseline(
        self,
        model: str | None = None,
        model_version: str | None = None,
        source: str | None = None,
        feature: str | None = None,
    ) -> int:
        """Forget references and learn anew ("this is the new normal"); returns how many features.

        None stands for all.
        """
        count = 0
        for watch in self._matching(model, model_version, source):
            names = [name for name in watch.known if feature is None or concerns(name, feature)]
            watch.forget(names)
            count += watch.together.forget() if feature == JOINT else len(names)
        return count

    def acknowledge(self, stream: Stream | None = None, feature: str | None = None) -> int:
        """Mark open alarms as seen, of a stream and feature or of all; returns how many."""
        count = 0
        for key, watch in self._streams.items():
            if stream is None or tuple(stream) == key:
                count += watch.acknowledge(feature)
        return count

    def _matching(self, model: str | None, version: str | None, source: str | None) -> list[Watch]:
        wanted = (model, version, source)
        return [
            watch
            for stream, watch in self._streams.items()
            if all(want is None or want == have for want, have in zip(wanted, stream, strict=True))
        ]

    def state(self) -> bytes:
        """All that the decisions depend on; `restore` goes on from it bit for bit."""
        return checkpoint.save(
            self._fingerprint, self._streams, self._references, self._refused, self._newest
        )

    def restore(self, state: bytes) -> bool:
        """Go on from a state; False where it belongs to other references or another algorithm."""
        restored = checkpoint.restore(state, self._fingerprint, self.settings)
        if restored is None:
            return False
        self._references, self._streams, self._refused, self._newest = restored
        self._now = math.nan  # what passed meanwhile is nobody's silence
        return True


def _moment(ts: float) -> float:
    return ts if ts == ts else 0.0
