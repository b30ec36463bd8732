"""Recorded data, read in chunks of columns: CSV, JSON Lines and Parquet, also compressed (.gz).

JSON Lines may be the objects that devices upload, whose lines hold `inputs` and `outputs`. Everything
is streamed, so a file that lies about its size takes time, not memory.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np

from edge_mlops_monitor.errors import DataError, MissingExtraError
from edge_mlops_monitor.features import features
from edge_mlops_monitor.layout import Chunk, Floats, Layout, Selection, Table, unix_seconds

ROWS = 2000  # of a chunk
MAX_LINE = 16 << 20  # characters of one line of JSON
MAX_COLUMNS = 20_000


SEPARATORS = {";": "semicolons", "\t": "tabs"}
NUMBERS = ("bool", "int", "uint", "halffloat", "float", "double")  # types of Arrow, without their widths
TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # of Arrow's timestamps, a second


class Dataset:
    """A file of recorded predictions.

    Raises `DataError` where the file is missing, empty, has no header, lacks a column or holds a
    time that is none; `MissingExtraError` for Parquet without the extra. `numeric` says of features that
    are known whether they are numbers. `read_bytes` and `total_bytes` say how far reading has come.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        selection: Selection | None = None,
        rows: int = ROWS,
        numeric: Mapping[str, bool] | None = None,
    ) -> None:
        self.path = Path(path)
        self.selection = selection or Selection()
        self.rows = rows
        self.numeric = numeric or {}
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
        layout: Layout | None = None
        try:
            for table in self._reader(self):
                if layout is None:
                    layout = Layout(self.path, list(table), self.selection, self.numeric)
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
    mark = next((name for sign, name in SEPARATORS.items() if len(header) == 1 and sign in header[0]), None)
    if mark is not None:
        raise DataError(f"{path}: has {mark} between its columns; save it with commas")
    _check_columns(path, header)
    if all(unix_seconds(name) is not None for name in header):
        raise DataError(f"{path}: has no header (its first line holds numbers); put the columns' names there")


def _check_columns(path: Path, names: list[str]) -> None:
    if len(names) > MAX_COLUMNS:
        raise DataError(f"{path}: has {len(names)} columns, at most {MAX_COLUMNS} are read; leave some out")
    double = next((name for name, times in Counter(names).items() if times > 1), None)
    if double is not None:
        raise DataError(f"{path}: has two columns called '{double}'; rename one")


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
        row = _decoded(line, decoder)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DataError(f"{path}: line {number} is not JSON ({error}); give one object a line") from None
    if not isinstance(row, dict):
        raise DataError(f"{path}: line {number} is not an object; give one object a line")
    if isinstance(row.get("inputs"), (dict, list)) or isinstance(row.get("outputs"), dict):
        return _prediction(row)
    return {name.partition(".")[2]: value for name, value in features(row, None).items()}


def _decoded(line: str, decoder: Any) -> Any:
    try:
        return decoder.decode(line)
    except msgspec.DecodeError:
        if "NaN" not in line and "Infinity" not in line:
            raise
        import json  # which writes numbers that JSON does not have, and reads them

        try:
            found = json.loads(line)
            msgspec.json.encode(found)  # not half a character
            return found
        except ValueError:
            pass
        raise


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
            _check_columns(dataset.path, file.schema_arrow.names)
            total = max(1, file.metadata.num_rows)
            done = 0
            for batch in file.iter_batches(batch_size=dataset.rows):
                done += batch.num_rows
                dataset.read_bytes = dataset.total_bytes * done // total
                yield dict(zip(batch.schema.names, map(_ArrowColumn, batch.columns), strict=True))
    except pyarrow.ArrowException as error:
        raise DataError(f"{dataset.path}: is no Parquet file that can be read ({error})") from None


class _ArrowColumn:
    """A column of Parquet, turned into what is asked for without a Python object for each value."""

    def __init__(self, array: Any) -> None:
        self._array, self._type = array, str(array.type)

    def __len__(self) -> int:
        return len(self._array)

    def floats(self) -> Floats | None:
        """The values as floats, NaN where there is none; None where they are no numbers."""
        if not self._type.startswith(NUMBERS):
            return None
        return _floats(self._array.cast("int8") if self._type == "bool" else self._array)

    def seconds(self) -> Floats | None:
        """The values as Unix seconds, NaN where there is none; None where they are no times."""
        if self._type.startswith("timestamp"):
            return _floats(self._array.cast("int64")) / TICKS[self._array.type.unit]
        return None if self._type == "bool" else self.floats()

    def listed(self) -> list[Any]:
        """The values one by one."""
        found: list[Any] = self._array.to_pylist()
        return found


def _floats(array: Any) -> Floats:
    """An array of Arrow's, NaN for null; its own way to NumPy would import pandas where it is installed."""
    found: Floats = _buffer(array.cast("float64", safe=False), np.float64)
    if array.null_count:
        return np.where(_buffer(array.is_null().cast("int8"), np.int8) == 1, np.nan, found)
    return found


def _buffer(array: Any, dtype: type) -> Any:
    data = array.buffers()[1] if len(array) else b""
    return np.frombuffer(data, dtype, len(array), np.dtype(dtype).itemsize * array.offset)


__all__ = ["Chunk", "Dataset", "Selection", "unix_seconds"]
