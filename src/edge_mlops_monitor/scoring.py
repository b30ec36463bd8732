"""How well alarms fit what is known to have happened: delays, misses, false alarms, beside baselines.

A change is found by the first alarm from its first row on and before its end; without an end it lasts to
the next change or to the end of the data. An alarm in a row where nothing is changed is false. Further
alarms on a change are repeats, and alarms on a feature other than the one that is known to have changed
are counted as `elsewhere`, since a change may drag others along. There is no F1 here: it rewards a
detector that always fires.

Rows are 0-based. Pure Python, so that benchmarks judge by the same rule as `replay`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median

import msgspec

from edge_mlops_monitor.errors import DataError

Alarm = tuple[int, "str | None"]  # row, and feature; None: no feature in particular


class Change(msgspec.Struct, frozen=True, order=True):
    """From row `start` to before row `end` something is changed, in `feature` or in no known one."""

    start: int
    end: int | None = None
    feature: str | None = None


class Found(msgspec.Struct, frozen=True):
    """A change with its end, and the row of the alarm that found it; None where none did."""

    start: int
    end: int
    feature: str | None
    alarm: int | None

    @property
    def delay(self) -> int | None:
        """Rows from the change to its alarm."""
        return None if self.alarm is None else self.alarm - self.start


class Score(msgspec.Struct, frozen=True):
    """What became of each change, and how many alarms were false, repeated or elsewhere.

    `changed` are the stretches of rows in which something is, without overlaps; `stable_rows` are the others.
    """

    changes: list[Found]
    false_alarms: int
    repeated: int
    elsewhere: int
    stable_rows: int
    changed: list[tuple[int, int]] = []

    @property
    def delays(self) -> list[int]:
        """Of the changes that were found."""
        return [change.delay for change in self.changes if change.delay is not None]

    @property
    def missed(self) -> int:
        """Changes without an alarm."""
        return len(self.changes) - len(self.delays)

    @property
    def median_delay(self) -> float | None:
        """Of the changes that were found; None where none was."""
        return float(median(self.delays)) if self.delays else None


def score(alarms: Iterable[int | Alarm], changes: Iterable[Change], rows: int) -> Score:
    """Judge alarms by the changes in data of so many rows.

    An alarm is its row, or its row and feature. Raises `DataError` where a change is outside the data.

    >>> found = score([(300, "a"), (1040, "a"), (1300, "b")], [Change(1000)], rows=5000)
    >>> found.delays, found.missed, found.false_alarms, found.repeated, found.stable_rows
    ([40], 0, 1, 1, 1000)
    """
    placed = sorted((alarm if isinstance(alarm, tuple) else (alarm, None) for alarm in alarms), key=_row)
    found = [_found(change, placed) for change in with_ends(changes, rows)]
    kinds = Counter(_kind(alarm, found) for alarm in placed)
    changed = _united(found)
    stable = rows - sum(end - start for start, end in changed)
    return Score(found, kinds["false"], kinds["repeated"], kinds["elsewhere"], stable, changed)


def baselines(alarms: int, changes: Sequence[Change], rows: int, every: int) -> dict[str, Score]:
    """What would be scored without looking at the data.

    `never` raises no alarm, `always` one every so many rows, `periodic` as many as were raised, evenly
    over the data.

    >>> found = baselines(2, [Change(500)], rows=1000, every=25)
    >>> {name: (one.missed, one.false_alarms, one.delays) for name, one in found.items()}
    {'never': (1, 0, []), 'always': (0, 20, [24]), 'periodic': (0, 1, [249])}
    """
    fired = {
        "never": range(0),
        "always": range(every - 1, rows, every),
        "periodic": [(2 * place + 1) * rows // (2 * alarms) - 1 for place in range(alarms)],
    }
    return {name: score(places, changes, rows) for name, places in fired.items()}


def with_ends(changes: Iterable[Change], rows: int) -> list[tuple[int, int, str | None]]:
    """Start, end and feature of each change in data of so many rows, in the order of the rows.

    >>> with_ends([Change(70, feature="a"), Change(20), Change(5, 9)], 100)
    [(5, 9, None), (20, 70, None), (70, 100, 'a')]
    """
    ordered = sorted(changes, key=lambda change: change.start)
    found = []
    for place, change in enumerate(ordered):
        if not 0 <= change.start < rows:
            raise DataError(
                f"a change at row {change.start} is not in the data, whose rows are 0 to {rows - 1}; "
                "rows are counted from 0, without the header"
            )
        later = (
            other.start
            for other in ordered[place + 1 :]
            if other.start > change.start and _same(other.feature, change.feature)
        )
        end = change.end if change.end is not None else next(later, rows)
        found.append((change.start, min(end, rows), change.feature))
    return found


class Labels:
    """Turns a column of labels into changes, some rows at a time.

    Numbers are changes where they are not 0, texts where they differ from the first row's; from one such
    label to another a new change begins. A row without a label is not changed.

    >>> labels = Labels()
    >>> labels.take(["0", "0", "1"]), labels.take(["1", "0", "2"])
    ([2], [4, 5])
    >>> labels.changes()
    [Change(start=2, end=4, feature=None), Change(start=5, end=6, feature=None)]
    """

    def __init__(self) -> None:
        self._rows = 0
        self._first: str | None = None  # the first row's label, where it is a text
        self._present: str | float | None = None
        self._edges: list[tuple[int, bool]] = []

    def take(self, labels: Iterable[object]) -> list[int]:
        """Take in the labels of the next rows; at which rows a change began or ended comes back."""
        before = len(self._edges)
        for given in labels:
            present = self._label(given)
            if present != self._present:
                self._edges.append((self._rows, present is not None))
                self._present = present
            self._rows += 1
        return [row for row, _ in self._edges[before:]]

    def _label(self, given: object) -> str | float | None:
        """The label, None where it says that nothing is changed."""
        found: str | float
        try:
            found = float(given)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            found = "" if given is None else str(given).strip()
        if self._first is None:
            self._first = found if isinstance(found, str) else ""
        return None if found in ("", 0.0, self._first) or found != found else found

    def changes(self) -> list[Change]:
        """The changes in all rows so far."""
        edges = [*self._edges, (self._rows, False)]
        return [Change(row, end) for (row, changed), (end, _) in pairwise(edges) if changed]


def _row(alarm: Alarm) -> int:
    return alarm[0]


def _same(one: str | None, other: str | None) -> bool:
    """Whether two features may be the same; one that is not named may be any, and a side may be left out."""
    return None in (one, other) or one == other or _bare(str(one)) == other or one == _bare(str(other))


def _bare(name: str) -> str:
    return name.partition(".")[2] if name.startswith(("inputs.", "outputs.")) else name


def _found(change: tuple[int, int, str | None], placed: Sequence[Alarm]) -> Found:
    start, end, feature = change
    first = bisect_left(placed, start, key=_row)
    hits = (row for row, of in placed[first:] if row < end and _same(of, feature))
    return Found(start, end, feature, next(hits, None))


def _kind(alarm: Alarm, found: Sequence[Found]) -> str:
    row, feature = alarm
    present = [change for change in found if change.start <= row < change.end]
    same = [change for change in present if _same(feature, change.feature)]
    if not present:
        return "false"
    if not same:
        return "elsewhere"
    return "hit" if any(change.alarm == row for change in same) else "repeated"


def _united(found: Iterable[Found]) -> list[tuple[int, int]]:
    """The stretches in which something is changed, without overlaps."""
    united: list[tuple[int, int]] = []
    for change in found:
        if united and change.start <= united[-1][1]:
            united[-1] = (united[-1][0], max(united[-1][1], change.end))
        else:
            united.append((change.start, change.end))
    return united
