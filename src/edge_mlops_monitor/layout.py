"""What each column of recorded data is: a feature, the time, the source, the truth; and its values.

Numbers become float arrays with NaN for what is missing, whatever the file's format; a column of
categories stays a list of texts, with None for what is missing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.features import mostly_numbers

EMPTY = frozenset(("", "na", "n/a", "nan", "null", "none", "inf", "-inf", "+inf", "infinity", "-infinity"))


FARTHEST = 95_617_584_000.0  # Unix seconds at the beginning of the year 5000

Floats = NDArray[np.float64]
Column = list[Any] | Floats  # numbers are an array; where there is text it is a list
Part = tuple["str | None", "dict[str, Column]", "NDArray[np.int64]", Floats]


class Packed(Protocol):
    """A column that its file holds in columns already, as Parquet does."""

    def __len__(self) -> int:
        """How many rows."""

    def floats(self) -> Floats | None:
        """The values as floats, NaN where there is none; None where they are no numbers."""

    def seconds(self) -> Floats | None:
        """The values as Unix seconds, NaN where there is none; None where they are no times."""

    def listed(self) -> list[Any]:
        """The values one by one."""


Table = dict[str, "list[Any] | Packed"]


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which columns are what, by name; without `inputs`, every column that is nothing else is one.

    `changes` names the column that says in which rows something is changed; it is no feature.
    """

    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()
    timestamp: str | None = None
    actual: str | None = None
    source: str | None = None
    changes: str | None = None
    categorical: Sequence[str] = ()


class Chunk(msgspec.Struct):
    """Some rows: columns by feature (`inputs.a`, `outputs.b`), `ts` where there is a time."""

    first_row: int
    rows: int
    columns: dict[str, Column]
    ts: Floats | None = None
    sources: list[str | None] | None = None
    actuals: list[Any] | None = None
    changes: list[Any] | None = None

    def by_source(self) -> list[Part]:
        """The rows of each source: source, columns, which rows of the chunk, and their times (0: none)."""
        ts = np.zeros(self.rows) if self.ts is None else self.ts
        places: dict[str | None, list[int]] = defaultdict(list)
        for place, source in enumerate(self.sources or ()):
            places[source].append(place)
        if len(places) <= 1:
            return [(next(iter(places), None), self.columns, np.arange(self.rows), ts)]
        return [
            (source, {name: _taken(column, rows) for name, column in self.columns.items()}, rows, ts[rows])
            for source, rows in ((source, np.array(found)) for source, found in places.items())
        ]


class Layout:
    """What each column of a file is, settled by its first chunk."""

    def __init__(
        self,
        path: Path,
        names: list[str],
        selection: Selection,
        numeric: Mapping[str, bool] | None = None,
    ) -> None:
        self._path, self._selection = path, selection
        uploaded = any(name.startswith(("inputs.", "outputs.")) for name in names)
        self._timestamp = self._only(names, selection.timestamp) or _own(names, uploaded, "ts", "timestamp")
        self._source = self._only(names, selection.source) or _own(names, uploaded, "source")
        self._actual = self._only(names, selection.actual) or _own(names, uploaded, "actual")
        self._changes = self._only(names, selection.changes)
        self._categorical = {self._found(names, name) for name in selection.categorical}
        self._chosen = self._choose(names)
        self._own = {self._timestamp, self._source, self._actual, self._changes}
        self._numeric = numeric or {}
        self._text: dict[str, bool] = {}

    def _choose(self, names: list[str]) -> dict[str, str]:
        sides = (("inputs", self._selection.inputs), ("outputs", self._selection.outputs))
        return {
            found: _qualified(found, side) for side, wanted in sides for found in self._all(names, wanted)
        }

    def _all(self, names: list[str], wanted: Sequence[str]) -> list[str]:
        return [self._found(names, name) for name in wanted]

    def _only(self, names: list[str], name: str | None) -> str | None:
        return None if name is None else self._found(names, name)

    def _found(self, names: list[str], name: str) -> str:
        for candidate in (name, f"inputs.{name}", f"outputs.{name}"):
            if candidate in names:
                return candidate
        near = get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'? " if near else ""
        listed = ", ".join(names[:30]) + (", ..." if len(names) > 30 else "")
        raise DataError(f"{self._path}: has no column '{name}'; {hint}it has: {listed}")

    def chunk(self, table: Table, first_row: int) -> Chunk:
        """The rows of one table."""
        rows = len(next(iter(table.values()), ()))
        columns: dict[str, Column] = {}
        for name, column in table.items():
            target = self._chosen.get(name)
            if target is None and not self._selection.inputs and name not in self._own:
                target = _qualified(name, "inputs")
            if target is not None:
                self._settle(name, target)
                columns[target] = self._values(name, column)
        sources = self._raw(table, self._source, rows)
        return Chunk(
            first_row=first_row,
            rows=rows,
            columns=columns,
            ts=self._times(table, rows, first_row),
            sources=None if sources is None else [None if s in (None, "") else str(s) for s in sources],
            actuals=self._raw(table, self._actual, rows),
            changes=self._raw(table, self._changes, rows),
        )

    def _settle(self, name: str, target: str) -> None:
        """A reference knows best whether a column holds numbers."""
        for known in (target, target.partition(".")[2]):
            if known in self._numeric:
                self._text.setdefault(name, not self._numeric[known])

    def _values(self, name: str, column: list[Any] | Packed) -> Column:
        """Numbers, unless the column is a category or holds text that is no number."""
        if name in self._categorical:
            return [_category(value) for value in _listed(column)]
        if not isinstance(column, list) and not self._text.get(name):
            numbers = column.floats()
            if numbers is not None:
                self._text.setdefault(name, False)
                return _finite(numbers)
        column = _listed(column)
        if self._text.get(name):
            return [value if value != "" else None for value in column]
        try:
            return _floats(column)
        except ValueError:
            found = [_float_or_text(value) for value in column]
            texts = sum(isinstance(value, str) for value in found)
            others = len(found) - found.count(None) - texts
            if self._text.setdefault(name, not mostly_numbers(texts, others)):
                return [value if value != "" else None for value in column]
            return found
        finally:
            self._text.setdefault(name, False)

    def _raw(self, table: Table, name: str | None, rows: int) -> list[Any] | None:
        if name is None:
            return None
        return _listed(table[name]) if name in table else [None] * rows

    def _times(self, table: Table, rows: int, first_row: int) -> Floats | None:
        name = self._timestamp
        if name is None:
            return None
        column = table.get(name) or [None] * rows
        found = _seconds(column)
        self._check_unit(name, found, first_row)
        wrong = np.flatnonzero(~np.isfinite(found))
        if len(wrong):
            value = _listed(column)[wrong[0]]
            raise DataError(
                f"{self._path}: row {first_row + wrong[0]} has the time {str(value)[:40]!r} in column "
                f"'{name}'; use Unix seconds or ISO 8601 (2026-01-31T14:02:00Z)"
            )
        return found

    def _check_unit(self, name: str, times: Floats, first_row: int) -> None:
        """Times in milliseconds, or finer, are no times of this age."""
        if len(times) and FARTHEST < abs(times[0]) < math.inf:
            raise DataError(
                f"{self._path}: row {first_row} has the time {times[0]:.0f} in column '{name}', which seems "
                "to be in milliseconds or finer; divide it, so that it is in Unix seconds"
            )


def _taken(column: Column, rows: NDArray[np.int64]) -> Column:
    return [column[i] for i in rows.tolist()] if isinstance(column, list) else column[rows]


def _own(names: list[str], uploaded: bool, *candidates: str) -> str | None:
    """In an uploaded object the record's own fields are known by name."""
    return next((name for name in candidates if name in names), None) if uploaded else None


def _qualified(name: str, side: str) -> str:
    return name if name.startswith(("inputs.", "outputs.")) else f"{side}.{name}"


def _listed(column: list[Any] | Packed) -> list[Any]:
    return column if isinstance(column, list) else column.listed()


def _floats(column: list[Any]) -> Floats:
    """The column as floats, NaN for what is missing; ValueError where a value is no number."""
    try:
        return _finite(np.fromiter(map(float, column), np.float64, len(column)))
    except (TypeError, ValueError, OverflowError):
        return np.array([_float(value) for value in column], dtype=np.float64)


def _finite(values: Floats) -> Floats:
    """The same with NaN in place of infinities."""
    infinite = np.isinf(values)
    return np.where(infinite, np.nan, values) if infinite.any() else values


def _float(value: Any) -> float | None:
    if value is None or (isinstance(value, str) and value.strip().lower() in EMPTY):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    except TypeError:
        raise ValueError(f"{value!r} is no number") from None
    return number if math.isfinite(number) else None


def _float_or_text(value: Any) -> Any:
    try:
        return _float(value)
    except ValueError:
        return str(value)


def _category(value: Any) -> str | None:
    if value is None or value == "":
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _seconds(column: list[Any] | Packed) -> Floats:
    """The column as Unix seconds, NaN for what is no time."""
    if not isinstance(column, list):
        packed = column.seconds()
        if packed is not None:
            return packed
        column = column.listed()
    try:  # numbers, as most are
        if not any(isinstance(value, bool) for value in column):
            return np.fromiter(map(float, column), np.float64, len(column))
    except (TypeError, ValueError, OverflowError):
        pass
    return np.array([unix_seconds(value) for value in column], dtype=np.float64)


def unix_seconds(value: Any) -> float | None:
    """A time as Unix seconds: a number, ISO 8601 (UTC where it names no zone), or a datetime; None if none.

    >>> unix_seconds("1970-01-01 00:01:00"), unix_seconds("60.5"), unix_seconds("1970-01-01T01:00:00+01:00")
    (60.0, 60.5, 0.0)
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).timestamp()
    try:
        number = float(value)
        return number if math.isfinite(number) else None
    except (TypeError, ValueError, OverflowError):
        pass
    try:
        moment = datetime.fromisoformat(str(value).strip().replace("Z", "+00:00"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return None
