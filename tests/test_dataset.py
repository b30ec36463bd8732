"""Recorded data: what is read, and the sentence where it cannot be."""

from __future__ import annotations

import csv
import gzip
import json
import math
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mlops_monitor.dataset import Chunk, Dataset, Selection, _ArrowColumn, unix_seconds
from edge_mlops_monitor.errors import DataError

TABLE = """when,line,a,b,colour,score,label
2026-01-31T14:02:00Z,A,1.5,,red,0.25,1
2026-01-31 14:03:00,B,nan,2,,0.5,0
1769868240,A,-inf,3,green,1e3,1
"""


def read(path: Path, rows: int = 2000, **selected: Any) -> list[Any]:
    """The chunks, with plain columns: None for what is missing."""
    return [plain(chunk) for chunk in Dataset(path, Selection(**selected), rows)]


def plain(chunk: Chunk) -> Any:
    columns = {name: listed(column) for name, column in chunk.columns.items()}
    ts = None if chunk.ts is None else chunk.ts.tolist()
    return SimpleNamespace(
        columns=columns,
        ts=ts,
        **{n: getattr(chunk, n) for n in ("first_row", "rows", "sources", "actuals", "changes")},
    )


def listed(column: Any) -> list[Any]:
    if isinstance(column, list):
        return column
    assert column.dtype == "float64"
    return [None if value != value else value for value in column.tolist()]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "data.csv"
    path.write_text(TABLE)
    return path


def test_columns_are_selected_by_name(table: Path) -> None:
    (chunk,) = read(
        table, inputs=["a", "b", "colour"], outputs=["score"], timestamp="when", actual="label", source="line"
    )
    assert chunk.columns == {
        "inputs.a": [1.5, None, None],
        "inputs.b": [None, 2.0, 3.0],
        "inputs.colour": ["red", None, "green"],
        "outputs.score": [0.25, 0.5, 1000.0],
    }
    start = datetime(2026, 1, 31, 14, 2, tzinfo=timezone.utc).timestamp()
    assert chunk.ts == [start, start + 60, 1769868240.0]
    assert chunk.sources == ["A", "B", "A"]
    assert chunk.actuals == ["1", "0", "1"]


def test_by_default_every_column_but_the_time_is_an_input(table: Path) -> None:
    (chunk,) = read(table, timestamp="when")
    assert list(chunk.columns) == [
        f"inputs.{name}" for name in ("line", "a", "b", "colour", "score", "label")
    ]


@pytest.mark.parametrize(
    ("selected", "inputs"),
    [
        ({"outputs": ["score"]}, ["when", "line", "a", "b", "colour", "label"]),
        ({"actual": "label"}, ["when", "line", "a", "b", "colour", "score"]),
        ({"source": "line"}, ["when", "a", "b", "colour", "score", "label"]),
        ({"categorical": ["label"]}, ["when", "line", "a", "b", "colour", "score", "label"]),
        ({"outputs": ["score"], "timestamp": "when", "actual": "label"}, ["line", "a", "b", "colour"]),
    ],
)
def test_what_is_not_named_as_something_else_is_an_input(
    table: Path, selected: dict[str, Any], inputs: list[str]
) -> None:
    (chunk,) = read(table, **selected)
    outputs = [f"outputs.{name}" for name in selected.get("outputs", [])]
    assert sorted(chunk.columns) == sorted([f"inputs.{name}" for name in inputs] + outputs)


def test_where_inputs_are_named_nothing_else_is_one(table: Path) -> None:
    (chunk,) = read(table, inputs=["a"], actual="label")
    assert list(chunk.columns) == ["inputs.a"]


def test_categories_written_as_numbers_stay_text(table: Path) -> None:
    (chunk,) = read(table, inputs=["label"], categorical=["label"])
    assert chunk.columns == {"inputs.label": ["1", "0", "1"]}


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_chunks_hold_all_rows_in_order(table: Path, rows: int) -> None:
    chunks = read(table, rows, timestamp="when")
    assert [row for chunk in chunks for row in chunk.columns["inputs.b"]] == [None, 2.0, 3.0]
    assert [chunk.first_row for chunk in chunks] == list(range(0, 3, rows))


def test_packed_files_and_marks_of_byte_order_are_read(table: Path, tmp_path: Path) -> None:
    packed = tmp_path / "data.csv.gz"
    packed.write_bytes(gzip.compress(b"\xef\xbb\xbf" + TABLE.encode()))
    dataset = Dataset(packed, Selection(timestamp="when"))
    assert [plain(chunk).columns for chunk in dataset] == [
        chunk.columns for chunk in read(table, timestamp="when")
    ]
    assert dataset.read_bytes == dataset.total_bytes


def test_json_lines_and_uploaded_objects_are_read(tmp_path: Path) -> None:
    plain = tmp_path / "data.jsonl"
    plain.write_text('{"a": 1, "b": {"c": "x"}}\n\n{"a": 2.5, "d": true}\n')
    (chunk,) = read(plain)
    assert chunk.columns == {"inputs.a": [1.0, 2.5], "inputs.b.c": ["x", None], "inputs.d": [None, 1.0]}
    line = {"ts": 5.0, "id": "p-1", "source": "s", "inputs": {"a": 1}, "outputs": {"y": [1, 2]}, "seq": 9}
    uploaded = tmp_path / "object.jsonl.gz"
    uploaded.write_bytes(gzip.compress((json.dumps(line) + "\n").encode() * 3))
    (chunk,) = read(uploaded)
    assert chunk.columns == {"inputs.a": [1.0] * 3, "outputs.y[0]": [1.0] * 3, "outputs.y[1]": [2.0] * 3}
    assert (chunk.ts, chunk.sources) == ([5.0] * 3, ["s"] * 3)


def test_parquet_is_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "data.parquet"
    when = [datetime(2026, 1, 1, tzinfo=timezone.utc)] * 3
    parquet.write_table(pyarrow.table({"t": when, "a": [1, None, 3], "c": ["x", "y", None]}), path)
    (chunk,) = read(path, timestamp="t")
    assert chunk.columns == {"inputs.a": [1.0, None, 3.0], "inputs.c": ["x", "y", None]}
    assert chunk.ts == [when[0].timestamp()] * 3


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("d.csv", b"", "is empty; give a file with at least one row"),
        ("d.csv", b"a,b\n", "holds no rows; give"),
        ("d.csv", b"\n\n", "has no header; the first line"),
        ("d.csv", b"1,2\n3,4\n", "has no header (its first line holds numbers); put"),
        ("d.csv", b"a,a\n1,2\n", "two columns called 'a'; rename one"),
        ("d.csv", b"a,b\n1\n", "line 2 has 1 values where the header has 2; is a quote"),
        ("d.csv", b"a,b\n\xff\xfe,1\n", "is not text in UTF-8; save it as UTF-8"),
        ("d.csv", b"a\n" + b"x" * 200_000 + b"\n", "field larger"),
        ("d.csv.gz", gzip.compress(b"a\n1\n")[:-9], "cannot be read"),
        ("d.jsonl", b"{\n", "line 1 is not JSON"),
        ("d.jsonl", b"[1]\n", "line 1 is not an object; give one object a line"),
        ("d.parquet", b"no parquet at all", "is no Parquet file"),
        ("d.xlsx", b"x", "of an unknown kind; use .csv"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_an_unknown_column_and_a_bad_time_are_named(table: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file; check the path"):
        Dataset(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="is a folder; give one file"):
        Dataset(tmp_path)
    with pytest.raises(
        DataError, match=r"has no column 'color'; did you mean 'colour'\? it has: when, line, a"
    ):
        read(table, inputs=["color"])
    with pytest.raises(DataError, match=r"row 0 has the time 'red' in column 'colour'; use Unix seconds"):
        read(table, timestamp="colour")


def test_text_among_numbers_makes_a_category_and_not_an_error(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("a\n1\nlow\n2\n")
    assert read(path)[0].columns == {"inputs.a": ["1", "low", "2"]}
    late = [chunk.columns["inputs.a"] for chunk in read(path, rows=1)]
    assert late == [[1.0], ["low"], [2.0]]  # known too late: text among numbers, which counts as missing


def test_a_text_among_many_numbers_is_one_of_few_faults(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("a\n" + "1\n2.5\n" * 10 + "ERR\n")
    assert read(path)[0].columns == {"inputs.a": [*[1.0, 2.5] * 10, "ERR"]}


def test_a_reference_settles_what_is_a_number(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("a,b\n1,1\nlow,2\n2,3\n")
    (chunk,) = Dataset(path, numeric={"inputs.a": True, "b": False})
    assert chunk.columns == {"inputs.a": [1.0, "low", 2.0], "inputs.b": ["1", "2", "3"]}


def test_numbers_that_json_does_not_have_are_missing_ones(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"a": NaN, "b": -Infinity}\n{"a": 1, "b": "Infinity"}\n')
    (chunk,) = read(path)
    assert chunk.columns == {"inputs.a": [None, 1.0], "inputs.b": [None, None]}
    path.write_text('{"a": NaN, oops}\n')
    with pytest.raises(DataError, match="line 1 is not JSON"):
        read(path)


@pytest.mark.parametrize(("sign", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_columns_that_are_not_separated_by_commas_are_told(tmp_path: Path, sign: str, name: str) -> None:
    path = tmp_path / "d.csv"
    path.write_text(TABLE.replace(",", sign))
    with pytest.raises(DataError, match=f"has {name} between its columns; save it with commas"):
        read(path)


def test_times_in_milliseconds_are_told_and_not_taken_for_seconds(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("t,a\n1767225600000,1\n1767225601000,2\n")
    with pytest.raises(DataError, match=r"row 0 has the time 1767225600000 in column 't', .* milliseconds"):
        read(path, timestamp="t")


@given(st.floats(0, 4e9))
def test_times_are_read_as_they_are_written(moment: float) -> None:
    moment = round(moment, 6)
    text = datetime.fromtimestamp(moment, tz=timezone.utc).isoformat()
    assert unix_seconds(text) == pytest.approx(moment, abs=1e-5)
    assert unix_seconds(repr(moment)) == moment
    for none in ("", "yesterday", None, True, "nan", [], 10**400):
        assert unix_seconds(none) is None


MISSING_OR = st.none() | st.sampled_from(["", "nan", "NA", "-inf", "1e400"])
TABLES = st.lists(
    st.tuples(
        st.none() | st.floats(),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.sampled_from(["red", "green", "a b"]),
        MISSING_OR | st.floats(-1e6, 1e6).map(repr),
    ),
    min_size=1,
    max_size=30,
)


@given(TABLES)
def test_the_same_table_reads_the_same_from_csv_json_lines_and_parquet(table: list[tuple[Any, ...]]) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    names = ["real", "whole", "colour", "text"]
    types = [pyarrow.float64(), pyarrow.int64(), pyarrow.string(), pyarrow.string()]
    columns = list(zip(*table, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"d.{kind}") for kind in ("csv", "jsonl", "parquet")]
        with paths[0].open("w", newline="") as file:
            csv.writer(file).writerows([names, *table])
        lines = [{name: _plain_json(value) for name, value in zip(names, row, strict=True)} for row in table]
        paths[1].write_text("".join(json.dumps(line) + "\n" for line in lines))
        arrays = [pyarrow.array(column, kind) for column, kind in zip(columns, types, strict=True)]
        parquet.write_table(pyarrow.table(dict(zip(names, arrays, strict=True))), paths[2])
        found = [[chunk.columns for chunk in read(path, rows=7, categorical=["colour"])] for path in paths]
    assert found[0] == found[1] == found[2]


def _plain_json(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


@pytest.mark.parametrize("kind", ["bool_", "int8", "uint64", "float16", "float32", "float64"])
def test_numbers_of_parquet_are_what_they_are_one_by_one(kind: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    values: list[Any] = {"bool_": [True, None, False], "int8": [-128, None, 127]}.get(kind, [0, None, 5])
    values += {"uint64": [2**63 + 1, 2**64 - 1], "float32": [0.1, math.inf]}.get(kind, [])
    column = _ArrowColumn(pyarrow.array(values, getattr(pyarrow, kind)()))
    one_by_one = [math.nan if value is None else float(value) for value in column.listed()]
    assert np.array_equal(np.asarray(column.floats()), one_by_one, equal_nan=True)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_times_of_parquet_are_unix_seconds_in_any_unit(unit: str, zone: str | None) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    kind = pyarrow.timestamp(unit, zone)
    column = _ArrowColumn(
        pyarrow.array([1_767_225_600 * {"s": 1, "ms": 10**3}.get(unit, 10**6)], "int64").cast(kind)
    )
    if unit == "ns":
        column = _ArrowColumn(pyarrow.array([1_767_225_600_123_456_789], "int64").cast(kind))
    assert column.seconds() == pytest.approx([1_767_225_600], abs=0.2)
    assert column.floats() is None
