"""Recorded data, read in chunks of columns: CSV, JSON Lines and Parquet, also compressed (.gz).

JSON Lines may be the objects that devices upload, whose lines hold `inputs` and `outputs`. Everything
is streamed, so a file that lies about its size takes time, not memory.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any

import msgspec

from edge_mlops_monitor.errors import DataError, MissingExtraError
from edge_mlops_monitor.features import features

ROWS = 2000  # of a chunk
MAX_LINE = 16 << 20  # characters of one line of JSON
MAX_COLUMNS = 20_000
EMPTY = frozenset(("", "na", "n/a", "nan", "null", "none", "inf", "-inf", "+inf", "infinity", "-infinity"))


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which columns are what, by name; without `inputs`, every column that is nothing else is one."""

    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()
    timestamp: str | None = None
    actual: str | None = None
    source: str | None = None
    categorical: Sequence[str] = ()


class Chunk(msgspec.Struct):
    """Some rows: columns by feature (`inputs.a`, `outputs.b`), `ts` where there is a time."""

    first_row: int
    rows: int
    columns: dict[str, list[Any]]
    ts: list[float] | None = None
    sources: list[str | None] | None = None
    actuals: list[Any] | None = None


class Dataset:
    """A file of recorded predictions.

    Raises `DataError` where the file is missing, empty, has no header, lacks a column or holds a
    time that is none; `MissingExtraError` for Parquet without the extra. `read_bytes` and
    `total_bytes` say how far reading has come.
    """

    def __init__(
        self, path: str | os.PathLike[str], selection: Selection | None = None, rows: int = ROWS
    ) -> None:
        self.path = Path(path)
        self.selection = selection or Selection()
        self.rows = rows
        try:
            self.total_bytes = self.path.stat().st_size
        except OSError as error:
            raise DataError(f"{self.path}: {_why(error)}; check the path") from None
        if self.path.is_dir():
            raise DataError(f"{self.path}: is a folder; give one file of it")
        if not self.total_bytes:
            raise DataError(f"{self.path}: is empty; give a file with at least one row")
        self.read_bytes = 0
        self._reader = _reader(self.path)

    def __iter__(self) -> Iterator[Chunk]:
        """The chunks, in the order of the file."""
        row = 0
        layout: _Layout | None = None
        try:
            for table in self._reader(self):
                if layout is None:
                    layout = _Layout(self.path, list(table), self.selection)
                chunk = layout.chunk(table, row)
                row += chunk.rows
                if chunk.rows:
                    yield chunk
        except (OSError, EOFError, gzip.BadGzipFile) as error:
            raise DataError(f"{self.path}: cannot be read ({_why(error)}); is the file whole?") from None
        except UnicodeDecodeError:
            raise DataError(f"{self.path}: is not text in UTF-8; save it as UTF-8, or as Parquet") from None
        if not row:
            raise DataError(f"{self.path}: holds no rows; give a file with at least one row")
        self.read_bytes = self.total_bytes


Table = dict[str, list[Any]]


def _why(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return str(getattr(error, "strerror", None) or error).lower()


def _reader(path: Path) -> Any:
    names = [suffix.lower() for suffix in path.suffixes]
    kind = names[-2] if len(names) > 1 and names[-1] == ".gz" else names[-1] if names else ""
    readers = {".csv": _csv, ".jsonl": _json_lines, ".ndjson": _json_lines, ".parquet": _parquet}
    if kind not in readers:
        raise DataError(f"{path}: of an unknown kind; use .csv, .csv.gz, .jsonl, .jsonl.gz or .parquet")
    return readers[kind]


def _text(dataset: Dataset, stack: ExitStack) -> tuple[IO[str], IO[bytes]]:
    """The file as text, and the raw file below, whose position tells the progress."""
    raw: IO[bytes] = stack.enter_context(dataset.path.open("rb"))
    packed = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    plain: Any = stack.enter_context(gzip.GzipFile(fileobj=raw)) if packed else raw
    return io.TextIOWrapper(plain, encoding="utf-8-sig", newline=""), raw


def _csv(dataset: Dataset) -> Iterator[Table]:
    with ExitStack() as stack:
        text, raw = _text(dataset, stack)
        reader = csv.reader(text)
        try:
            header = [name.strip() for name in next(reader, [])]
            _check_header(dataset.path, header)
            while rows := _rows(dataset.path, reader, dataset.rows, len(header)):
                dataset.read_bytes = raw.tell()
                yield {
                    name: list(column) for name, column in zip(header, zip(*rows, strict=True), strict=True)
                }
        except csv.Error as error:
            raise DataError(f"{dataset.path}: line {reader.line_num}: {error}; is it a CSV file?") from None


def _check_header(path: Path, header: list[str]) -> None:
    if not any(header):
        raise DataError(f"{path}: has no header; the first line must hold the columns' names")
    if len(header) > MAX_COLUMNS:
        raise DataError(f"{path}: has {len(header)} columns, at most {MAX_COLUMNS} are read; leave some out")
    double = (
        next((name for name in header if header.count(name) > 1), None)
        if len(set(header)) < len(header)
        else None
    )
    if double is not None:
        raise DataError(f"{path}: has two columns called '{double}'; rename one")
    if all(unix_seconds(name) is not None for name in header):
        raise DataError(f"{path}: has no header (its first line holds numbers); put the columns' names there")


def _rows(path: Path, reader: Any, count: int, width: int) -> list[list[str]]:
    rows: list[list[str]] = []
    for row in reader:
        if len(row) != width:
            if not row:
                continue
            raise DataError(
                f"{path}: line {reader.line_num} has {len(row)} values where the header has {width}; "
                "is a quote or comma missing?"
            )
        rows.append(row)
        if len(rows) == count:
            break
    return rows


def _json_lines(dataset: Dataset) -> Iterator[Table]:
    decoder = msgspec.json.Decoder()
    with ExitStack() as stack:
        text, raw = _text(dataset, stack)
        rows: list[dict[str, Any]] = []
        number = 0
        while line := text.readline(MAX_LINE + 1):
            number += 1
            if line.strip():
                rows.append(_object(dataset.path, number, line, decoder))
            if len(rows) == dataset.rows:
                dataset.read_bytes = raw.tell()
                yield _transposed(rows)
                rows = []
        if rows:
            yield _transposed(rows)


def _object(path: Path, number: int, line: str, decoder: Any) -> dict[str, Any]:
    if len(line) > MAX_LINE:
        raise DataError(f"{path}: line {number} is longer than {MAX_LINE >> 20} MB; is it JSON Lines?")
    try:
        row = decoder.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DataError(f"{path}: line {number} is not JSON ({error}); give one object a line") from None
    if not isinstance(row, dict):
        raise DataError(f"{path}: line {number} is not an object; give one object a line")
    if isinstance(row.get("inputs"), (dict, list)) or isinstance(row.get("outputs"), dict):
        return _prediction(row)
    return {name.partition(".")[2]: value for name, value in features(row, None).items()}


def _prediction(row: dict[str, Any]) -> dict[str, Any]:
    """A line of an uploaded object: its features, and its own time, source and actual."""
    found: dict[str, Any] = dict(features(row.get("inputs"), row.get("outputs")))
    found.update({name: row[name] for name in ("ts", "source", "actual") if name in row})
    return found


def _transposed(rows: list[dict[str, Any]]) -> Table:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _parquet(dataset: Dataset) -> Iterator[Table]:
    try:
        from importlib import import_module

        pyarrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        command = "pip install 'edge-mlops-monitor[parquet]'"
        raise MissingExtraError(f"{dataset.path}: Parquet needs pyarrow; run: {command}") from None
    try:
        with parquet.ParquetFile(dataset.path) as file:
            total = max(1, file.metadata.num_rows)
            done = 0
            for batch in file.iter_batches(batch_size=dataset.rows):
                done += batch.num_rows
                dataset.read_bytes = dataset.total_bytes * done // total
                yield {name: batch.column(name).to_pylist() for name in batch.schema.names}
    except pyarrow.ArrowException as error:
        raise DataError(f"{dataset.path}: is no Parquet file that can be read ({error})") from None


class _Layout:
    """What each column of a file is, settled by its first chunk."""

    def __init__(self, path: Path, names: list[str], selection: Selection) -> None:
        self._path, self._selection = path, selection
        uploaded = any(name.startswith(("inputs.", "outputs.")) for name in names)
        self._timestamp = self._only(names, selection.timestamp) or _own(names, uploaded, "ts", "timestamp")
        self._source = self._only(names, selection.source) or _own(names, uploaded, "source")
        self._actual = self._only(names, selection.actual) or _own(names, uploaded, "actual")
        self._categorical = {self._found(names, name) for name in selection.categorical}
        self._chosen = self._choose(names)
        self._own = {self._timestamp, self._source, self._actual}
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
        columns: dict[str, list[Any]] = {}
        for name, column in table.items():
            target = self._chosen.get(name)
            if target is None and not self._selection.inputs and name not in self._own:
                target = _qualified(name, "inputs")
            if target is not None:
                columns[target] = self._values(name, column)
        return Chunk(
            first_row=first_row,
            rows=rows,
            columns=columns,
            ts=self._times(table, rows, first_row),
            sources=self._labels(table, self._source, rows),
            actuals=table.get(self._actual) if self._actual else None,
        )

    def _values(self, name: str, column: list[Any]) -> list[Any]:
        """Numbers, unless the column is a category or holds text that is no number."""
        if name in self._categorical:
            return [_category(value) for value in column]
        if self._text.get(name):
            return [value if value != "" else None for value in column]
        try:
            return _floats(column)
        except ValueError:
            if name not in self._text:
                self._text[name] = True
                return [value if value != "" else None for value in column]
            return [_float_or_text(value) for value in column]
        finally:
            self._text.setdefault(name, False)

    def _labels(self, table: Table, name: str | None, rows: int) -> list[str | None] | None:
        if name is None:
            return None
        return [None if value in (None, "") else str(value) for value in table.get(name, [None] * rows)]

    def _times(self, table: Table, rows: int, first_row: int) -> list[float] | None:
        name = self._timestamp
        if name is None:
            return None
        found = []
        for place, value in enumerate(table.get(name, [None] * rows)):
            moment = unix_seconds(value)
            if moment is None:
                where = f"{self._path}: row {first_row + place}"
                raise DataError(
                    f"{where} has the time {str(value)[:40]!r} in column '{name}'; "
                    "use Unix seconds or ISO 8601 (2026-01-31T14:02:00Z)"
                )
            found.append(moment)
        return found


def _own(names: list[str], uploaded: bool, *candidates: str) -> str | None:
    """In an uploaded object the record's own fields are known by name."""
    return next((name for name in candidates if name in names), None) if uploaded else None


def _qualified(name: str, side: str) -> str:
    return name if name.startswith(("inputs.", "outputs.")) else f"{side}.{name}"


def _floats(column: list[Any]) -> list[Any]:
    """The column as floats and None; ValueError where a value is no number."""
    try:
        found = list(map(float, column))
    except (TypeError, ValueError, OverflowError):
        return [_float(value) for value in column]
    return (
        found
        if math.isfinite(sum(found))  # fsum raises where both infinities meet
        else [value if math.isfinite(value) else None for value in found]
    )


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
