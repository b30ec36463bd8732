"""Recorded data: what is read, and the sentence where it cannot be."""

from __future__ import annotations

import gzip
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mlops_monitor.dataset import Chunk, Dataset, Selection, unix_seconds
from edge_mlops_monitor.errors import DataError

TABLE = """when,line,a,b,colour,score,label
2026-01-31T14:02:00Z,A,1.5,,red,0.25,1
2026-01-31 14:03:00,B,nan,2,,0.5,0
1769868240,A,-inf,3,green,1e3,1
"""


def read(path: Path, rows: int = 2000, **selected: Any) -> list[Chunk]:
    return list(Dataset(path, Selection(**selected), rows))


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
    assert [chunk.columns for chunk in dataset] == [chunk.columns for chunk in read(table, timestamp="when")]
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


@given(st.floats(0, 4e9))
def test_times_are_read_as_they_are_written(moment: float) -> None:
    moment = round(moment, 6)
    text = datetime.fromtimestamp(moment, tz=timezone.utc).isoformat()
    assert unix_seconds(text) == pytest.approx(moment, abs=1e-5)
    assert unix_seconds(repr(moment)) == moment
    for none in ("", "yesterday", None, True, "nan", [], 10**400):
        assert unix_seconds(none) is None
