"""Profiles on the device: what the decider reads goes into one summary for each feature and window of time.

A window is one hour of the data's own time. It is closed, and becomes records of kind `profiles`, once a row
of a later window comes, when the references change, when nothing came for an hour, and at stop. Rows that
come late are counted in the window that is open, so that a clock that wavers does not make many.

The state is written seldom, since it is as large as the profiles themselves, and with a cursor of its own:
after a crash the rows behind it are read again, so that none is lost and none counted twice.
"""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from edge_mlops_monitor.drift.profiling import Profiled, fingerprint, take
from edge_mlops_monitor.drift.reference import Column, FeatureReference, Stream
from edge_mlops_monitor.erasure import PURGED_BEFORE
from edge_mlops_monitor.profiles.summary import Summary
from edge_mlops_monitor.records import Profile
from edge_mlops_monitor.transaction import Transaction

STATE = "profiler"
FOLD_ROWS = 1536  # rows that are summarised together, if they have no more
FOLD_VALUES = 1 << 17  # values than this
MOST_CUTS = 4  # windows that may begin within one block of rows; timestamps without any order have more
SPARED = 64  # the state is written once so many times its bytes were read
BLOCK = 256  # profiles stored as one block; merging older ones joins neighbouring blocks

Columns = Mapping[str, list[Any]]
InForce = tuple[Sequence[str], Sequence[FeatureReference]]


class Window:
    """The open window of one stream: its features, and rows that are not summarised yet."""

    def __init__(self, stream: Stream, number: int) -> None:
        self.stream, self.number = stream, number
        self.features: dict[str, Profiled] = {}
        self._references: dict[str, FeatureReference] = {}
        self._named: Sequence[str] | None = None
        self._pending: list[tuple[dict[str, Any], Sequence[float]]] = []
        self._rows = 0

    def judge_by(self, in_force: InForce) -> list[Profile]:
        """Count in the bins of these references from now on; what was counted in the bins of others."""
        if in_force[0] is self._named:
            return []
        self._fold()
        self._named, self._references = in_force[0], dict(zip(*in_force, strict=True))
        ended = []
        for name, feature in self.features.items():
            reference = self._references.get(name)
            if (fingerprint(reference) if reference else "") == feature.summary.bins.reference:
                self.features[name] = Profiled(feature.summary, reference)
            else:
                ended.append(feature.summary)
                self.features[name] = self._fresh(name)
        return written(ended)

    def add(self, columns: Columns, ts: Sequence[float], room: int) -> None:
        """Take in rows; of features not met before, as many as there is `room` for."""
        new = [] if columns.keys() <= self.features.keys() else self._new(columns, room)
        if new:
            self._fold()  # which would otherwise count them as missing in the rows before
            self.features.update({name: self._fresh(name) for name in new})
        self._pending.append((_packed(columns, len(ts)), ts))
        self._rows += len(ts)
        if self._rows >= FOLD_ROWS or self._rows * len(self.features) >= FOLD_VALUES:
            self._fold()

    def _new(self, columns: Columns, room: int) -> list[str]:
        return [name for name in columns if name not in self.features][:room]

    def close(self, number: int) -> list[Profile]:
        """The profiles of this window; the next one begins with those features that had any value."""
        summaries = self.summaries()
        self.number = number
        alive = [name for name, one in self.features.items() if one.summary.missing < one.summary.rows]
        self.features = {name: self._fresh(name) for name in alive}
        return written(summaries)

    def summaries(self) -> list[Summary]:
        """Of each feature, with all rows so far."""
        self._fold()
        return [feature.summary for feature in self.features.values()]

    def _fresh(self, name: str) -> Profiled:
        model, version, source = self.stream
        names = {"feature": name, "model": model, "model_version": version, "source": source}
        return Profiled.fresh(self._references.get(name), **names)

    def _fold(self) -> None:
        if self._rows:
            columns = {name: self._joined(name) for name in self.features}
            take(self.features, columns, list(chain.from_iterable(ts for _, ts in self._pending)))
        self._pending, self._rows = [], 0

    def _joined(self, name: str) -> Column:
        """The pending values of one feature; None in rows that do not have it."""
        parts: list[Any] = [columns.get(name) or [None] * len(ts) for columns, ts in self._pending]
        try:
            return np.frombuffer(b"".join(parts))
        except TypeError:  # some part is a list
            return list(chain.from_iterable(array("d", x) if isinstance(x, bytes) else x for x in parts))


class Profiler:
    """The open windows of all streams, and the profiles that wait for the next commit.

    `seconds` is the length of a window; 0: there are none. The state stands for all rows up to the block
    key `cursor`.
    """

    def __init__(self, seconds: float, most_features: int) -> None:
        self.cursor = 0
        self._seconds, self._most = seconds, most_features
        self._windows: dict[Stream, Window] = {}
        self.closed: list[Profile] = []
        self._purged: bytes | None = None
        self._read = 0  # bytes since the state was written
        self._due = False
        self._last = math.nan

    def take(self, stream: Stream, columns: Columns, ts: Sequence[float], in_force: InForce) -> None:
        """Take in predictions of one stream, oldest first, and the references that are in force for it."""
        if not self._seconds:
            return
        window = self._windows.get(stream)
        cuts = self._cuts(None if window is None else window.number, ts)
        if window is None:
            window = self._windows[stream] = Window(stream, cuts[0][1])
        self.closed += window.judge_by(in_force)
        begin = 0
        for row, number in [*cuts, (len(ts), None)]:
            if row > begin:
                part = columns if row - begin == len(ts) else _rows(columns, begin, row)
                others = sum(len(one.features) for one in self._windows.values())
                window.add(part, ts[begin:row], max(0, self._most - others))
            if number is not None and number != window.number:
                self._turn(window, number)
            begin = row

    def have_read(self, key: int, size: int, now: float) -> None:
        """So far the blocks were read; the size of the last one, and when."""
        self.cursor = key
        self._read += size
        self._last = now

    def rest(self, now: float) -> None:
        """Close all windows where nothing came for the time of one."""
        if now - self._last > self._seconds:
            self.close()

    def close(self) -> None:
        """Close all windows."""
        for window in self._windows.values():
            self.closed += window.close(window.number)
        self._windows.clear()
        self._last = math.nan

    def write(self, tx: Transaction) -> None:
        """Store the closed windows, and the state where it is time to."""
        self._obey(tx.get(PURGED_BEFORE))
        for begin in range(0, len(self.closed), BLOCK):
            tx.append("profiles", self.closed[begin : begin + BLOCK])
        state = self._state()
        if self._due or self.closed or self._read > SPARED * len(state):
            tx.put(STATE, state)
            self._due = True

    def settle(self) -> None:
        """What was written is committed."""
        self.closed = []
        if self._due:
            self._read, self._due = 0, False

    def restore(self, state: bytes | None, cursor: int, purged: bytes | None) -> None:
        """Go on from a state, or without one from a block key."""
        self.cursor, self._purged, self._due = cursor, purged, state is None
        if state is None:
            return
        kept = msgspec.msgpack.decode(state, type=_State)
        self.cursor, self._purged = kept.cursor, kept.purged
        for saved in kept.windows:
            window = self._windows[saved.stream] = Window(saved.stream, saved.number)
            for profile in saved.profiles:
                window.features[profile.feature] = Profiled(Summary.of(profile))

    def _state(self) -> bytes:
        windows = [
            _Saved(one.stream, one.number, [summary.profile() for summary in one.summaries()])
            for one in self._windows.values()
        ]
        return msgspec.msgpack.encode(_State(self.cursor, self._purged, windows))

    def _cuts(self, number: int | None, ts: Sequence[float]) -> list[tuple[int, int]]:
        """The rows at which another window begins: a later one, or one so early that a clock was set."""
        if (
            number is not None
            and number - 1 <= min(ts) // self._seconds <= max(ts) // self._seconds <= number
        ):
            return []
        cuts = []
        for row, moment in enumerate(ts):
            found = int(moment // self._seconds) if math.isfinite(moment) else number or 0
            if number is None or not number - 1 <= found <= number:
                number = found
                cuts.append((row, found))
        return cuts if len(cuts) <= MOST_CUTS else [(0, cuts[-1][1])]

    def _turn(self, window: Window, number: int) -> None:
        """Begin the next window of a stream, and end those of streams that have fallen silent."""
        self.closed += window.close(number)
        silent = [other for other in self._windows.values() if other.number < number - 1]
        for other in silent:
            if other is not window:
                self.closed += other.close(other.number)
                del self._windows[other.stream]

    def _obey(self, purged: bytes | None) -> None:
        """Forget what began before the time of the last purge."""
        if purged is None or purged == self._purged:
            return
        self._purged = purged
        before, _ = msgspec.msgpack.decode(purged, type=tuple[float, bytes])
        self.closed = [profile for profile in self.closed if profile.ts >= before]
        for window in self._windows.values():
            old = {one.names["feature"] for one in window.summaries() if one.since < before}
            window.features = {name: one for name, one in window.features.items() if name not in old}
        self._due = True


class _Saved(msgspec.Struct, frozen=True, array_like=True):
    stream: Stream
    number: int
    profiles: list[Profile]


class _State(msgspec.Struct, frozen=True, array_like=True):
    cursor: int
    purged: bytes | None
    windows: list[_Saved]


def written(summaries: Iterable[Summary]) -> list[Profile]:
    """The profiles of summaries that have any rows."""
    return [summary.profile() for summary in summaries if summary.rows]


def _packed(columns: Columns, rows: int) -> dict[str, bytes | list[Any]]:
    """Numbers in a quarter of the memory, taken while they are at hand; a column with any other as it is."""
    pack = struct.Struct(f"{rows}d").pack  # in half the time that `array` takes
    packed: dict[str, bytes | list[Any]] = {}
    for name, column in columns.items():
        try:
            packed[name] = pack(*column)
        except struct.error:
            packed[name] = column
    return packed


def _rows(columns: Columns, begin: int, end: int) -> Columns:
    return {name: column[begin:end] for name, column in columns.items()}
