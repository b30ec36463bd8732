"""Objects: their keys, their lines, their bounds."""

from __future__ import annotations

import base64
import gzip
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_mlops_monitor.blocks import FIELDS, SEQ_BITS, Block, pack
from edge_mlops_monitor.clock import ManualClock
from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.records import KINDS, Event, Prediction, Record
from edge_mlops_monitor.store import Store
from edge_mlops_monitor.telemetry import encoding
from edge_mlops_monitor.telemetry.encoding import ObjectKey, encode, lines, parse_key


def stored(folder: Path, *groups: list[Record], device_id: str = "pi-7") -> Store:
    store = Store(folder / "m.db", device_id=device_id, clock=ManualClock())
    for records in groups:
        with store.transaction() as tx:
            tx.append(records[0].kind, records)
    return store


def predictions(count: int, **fields: Any) -> list[Record]:
    return [Prediction(id=f"p-{i}", ts=float(i), inputs={"a": float(i)}, **fields) for i in range(count)]


def decoded(body: bytes) -> list[dict[str, Any]]:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not strict JSON")

    return [json.loads(line, parse_constant=refuse) for line in gzip.decompress(body).splitlines()]


def all_blocks(store: Store, kind: str = "predictions") -> list[Block]:
    return store.blocks(kind, limit=10_000)


def test_every_line_is_one_record_with_all_fields_of_its_kind(tmp_path: Path) -> None:
    store = stored(tmp_path, predictions(3, model="m", outputs={"y": 1}))
    batch = encode(all_blocks(store))
    assert batch is not None
    rows = decoded(batch.body)
    assert [row["seq"] for row in rows] == [1, 2, 3]
    assert set(rows[0]) == set(Prediction.__struct_fields__)
    assert rows[2]["inputs"] == {"a": 2.0}
    assert rows[0]["device_id"] == "pi-7"
    assert rows[0]["generation"] == batch.generation == store.generation
    assert (batch.first_seq, batch.last_seq, batch.records) == (1, 3, 3)
    assert batch.json_bytes == len(gzip.decompress(batch.body))


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    store = stored(tmp_path, predictions(600))
    one, two = encode(all_blocks(store)), encode(all_blocks(store))
    assert one is not None
    assert two is not None
    assert one.body == two.body
    assert one.body[4:8] == b"\0\0\0\0"  # the time in a gzip header


def test_a_key_says_what_is_inside_and_is_read_back_even_if_the_device_has_hyphens(tmp_path: Path) -> None:
    store = stored(tmp_path, predictions(2), device_id="line-3-00001.aa-camera")
    batch = encode(all_blocks(store))
    assert batch is not None
    key = batch.key(1_700_000_000.0, prefix="site-a/v1/")
    name = f"line-3-00001.aa-camera-{store.generation}-000000000001-000000000002.jsonl.gz"
    assert key == f"site-a/v1/v1/kind=predictions/dt=2023-11-14/{name}"
    parsed = parse_key(key)
    assert parsed.device_id == "line-3-00001.aa-camera"
    assert parsed.generation == store.generation
    assert (parsed.first_seq, parsed.last_seq, parsed.date) == (1, 2, "2023-11-14")
    assert str(parsed) == key


@pytest.mark.parametrize(
    "key",
    ["", "v1/kind=events/dt=2026-01-01/", "v1/kind=events/dt=2026-01-01/../../etc/passwd", "readme.txt"],
)
def test_another_key_is_named(key: str) -> None:
    with pytest.raises(DataError, match="is not the key of an object"):
        parse_key(key)


@given(
    device=st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True),
    number=st.integers(0, 99_999),
    first=st.integers(0, 10**12 - 1),
    prefix=st.from_regex(r"([a-z0-9-]{1,9}/)?", fullmatch=True),
)
def test_any_key_is_read_back_as_it_was_written(device: str, number: int, first: int, prefix: str) -> None:
    generation = f"{number:05d}.9f1c22aa"
    key = ObjectKey(
        kind="events",
        date="2026-01-01",
        device_id=device,
        generation=generation,
        first_seq=first,
        last_seq=first,
        prefix=prefix,
    )
    assert parse_key(str(key)) == key


def test_sealing_goes_on_in_the_middle_of_a_block(tmp_path: Path) -> None:
    store = stored(tmp_path, predictions(10), predictions(5))
    one = encode(all_blocks(store), max_records=7)
    assert one is not None
    assert (one.first_seq, one.last_seq) == (1, 7)
    two = encode(store.blocks("predictions", one.mark), one.mark, max_records=7)
    assert two is not None
    assert (two.first_seq, two.last_seq) == (8, 14)
    three = encode(store.blocks("predictions", two.mark), two.mark, max_records=7)
    assert three is not None
    assert (three.first_seq, three.last_seq, three.records) == (15, 15, 1)
    assert encode(store.blocks("predictions", three.mark), three.mark) is None


def test_an_object_does_not_cross_generations(tmp_path: Path) -> None:
    store = stored(tmp_path, predictions(4))
    before = store.generation
    with store.transaction() as tx:
        tx.begin_generation("test")
        tx.append("predictions", predictions(2))
    one = encode(all_blocks(store))
    assert one is not None
    assert (one.generation, one.records) == (before, 4)
    two = encode(store.blocks("predictions", one.mark), one.mark)
    assert two is not None
    assert (two.generation, two.first_seq, two.records) == (store.generation, 1, 2)


def test_an_object_is_bounded_in_bytes_and_a_larger_record_goes_alone(tmp_path: Path) -> None:
    small, large = predictions(100), predictions(1, tags={"text": "x" * 5000})
    store = stored(tmp_path, [*small, *large, *small])
    mark, sizes = 0, []
    while (batch := encode(store.blocks("predictions", mark), mark, max_bytes=4000)) is not None:
        mark = batch.mark
        sizes.append((batch.records, batch.json_bytes))
    assert sum(records for records, _ in sizes) == 201
    assert all(size <= 4000 or records == 1 for records, size in sizes)
    assert any(size > 5000 for _, size in sizes)


def test_a_record_that_was_erased_is_simply_not_in_the_lines(tmp_path: Path) -> None:
    from edge_mlops_monitor.blocks import without

    store = stored(tmp_path, predictions(5))
    block = all_blocks(store)[0]
    packed, gone = without(block, [False, True, False, False, False])
    assert gone == [2]
    assert packed is not None
    left = Block(
        **{name: getattr(block, name) for name in Block.__struct_fields__ if name != "payload"},
        payload=packed.payload,
    )
    batch = encode([left])
    assert batch is not None
    assert [row["seq"] for row in decoded(batch.body)] == [1, 3, 4, 5]
    assert (batch.first_seq, batch.last_seq, batch.records) == (1, 5, 4)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (float("nan"), None),
        (float("-inf"), None),
        (b"\x00\xff", "AP8="),
        (2**64 - 1, 2**64 - 1),
        (2**64, 18446744073709551616),
        ("lone \ud800 surrogate", "lone ? surrogate"),
        ({None: 1, (1, 2): 2}, {"None": 1, "(1, 2)": 2}),
        ({"k": {True: 2**80}}, {"k": {"True": str(2**80)}}),
        ({1, 2}, [1, 2]),
    ],
)
def test_odd_values_leave_as_strict_json(value: Any, read: Any) -> None:
    row = decoded(gzip.compress(lines([Event(data={"value": value})])))[0]
    assert row["data"]["value"] == read


def test_values_nested_without_end_leave_as_strict_json() -> None:
    deep: dict[str, Any] = {}
    for _ in range(200_000):  # what the encoder itself gives up at differs between Pythons
        deep = {"k": deep}
    good = Event(type="fine")
    rows = decoded(gzip.compress(lines([good, Event(data=deep), good])))
    assert [row["type"] for row in rows] == ["fine", "", "fine"]
    assert "nested too deeply" in json.dumps(rows[1]["data"])


def json_like(names: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
        max_leaves=12,
    )


@given(st.lists(json_like(st.text() | st.integers()), min_size=1, max_size=5))
def test_whatever_is_in_a_record_each_record_is_one_strict_line(values: list[Any]) -> None:
    rows = decoded(gzip.compress(lines([Event(data={"v": value}) for value in values])))
    assert len(rows) == len(values)


def block_of(records: list[Record]) -> Block:
    packed = pack(records[0].kind, records)
    return Block(
        kind=records[0].kind,
        key=2 << SEQ_BITS | len(records),
        generation="00002.9f1c22aa",
        boot_id="b-1",
        device_id="pi-7",
        first_seq=1,
        count=packed.count,
        session=None,
        first_ts=packed.first_ts,
        last_ts=packed.last_ts,
        synced=True,
        payload=packed.payload,
    )


def said_in_json(value: Any) -> Any:
    """What a strict reader should find."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [said_in_json(item) for item in value]
    if isinstance(value, dict):
        return {str(key): said_in_json(item) for key, item in value.items()}
    return value


def as_they_should_leave(records: list[Record]) -> list[dict[str, Any]]:
    envelope = {
        "generation": "00002.9f1c22aa",
        "boot_id": "b-1",
        "device_id": "pi-7",
        "clock_synced": True,
    }
    return [
        said_in_json(record.to_dict() | envelope | {"seq": seq})
        for seq, record in enumerate(records, start=1)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_every_kind_leaves_under_its_own_name(kind: str) -> None:
    cls = KINDS[kind]
    full = cls(
        **{name: 0.5 if name == "ts" else f"of {name}: \u00e9 \u2028 \U0001f980" for name in FIELDS[kind]}
    )
    records = [full, cls(ts=2.0), full]
    batch = encode([block_of(records)])
    assert batch is not None
    rows = decoded(batch.body)
    assert rows == as_they_should_leave(records)
    assert list(rows[0]) == list(cls.__struct_fields__)


@given(
    st.lists(
        st.tuples(*[json_like(st.text() | st.integers(-(2**63), 2**64 - 1))] * 3), max_size=6, min_size=1
    )
)
def test_what_leaves_is_what_was_logged(values: list[tuple[Any, Any, Any]]) -> None:
    records: list[Record] = [
        Prediction(id=f"p-{i}", ts=i + 0.1, inputs=asked, outputs=answer, tags={"t": tag}, model="m")
        for i, (asked, answer, tag) in enumerate(values)
    ]
    batch = encode([block_of(records)])
    assert batch is not None
    assert decoded(batch.body) == as_they_should_leave(records)


@pytest.mark.parametrize(("size", "most"), [(1, 250), (10_000, 20)])
def test_the_interpreter_is_never_held_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, most: int
) -> None:
    slices = []

    def counted(records: list[Record]) -> bytes:
        slices.append(len(records))
        return lines(records)

    monkeypatch.setattr(encoding, "lines", counted)
    store = stored(tmp_path, predictions(1000, tags={"text": "x" * size}))
    batch = encode(all_blocks(store), max_bytes=1 << 30)
    assert batch is not None
    assert batch.records == sum(slices) == 1000
    assert max(slices) <= most


@pytest.mark.parametrize(("decimals", "share"), [(None, 0.35), (3, 0.20)])
def test_what_goes_over_the_wire_is_a_small_part_of_the_lines(
    tmp_path: Path, decimals: int | None, share: float
) -> None:
    rng = random.Random(7)

    def value() -> float:
        return rng.random() if decimals is None else round(rng.gauss(20.0, 3.0), decimals)

    rows: list[Record] = [
        Prediction(
            id=f"3f2a9c0d11b2-{i}",
            ts=1.7e9 + i * 0.1037,
            model="detector",
            model_version="3",
            source="camera-1",
            inputs={f"sensor_{k}": value() for k in range(20)},
            outputs={"label": "ok", "score": value()},
            latency_seconds=round(rng.random() / 100, 6),
        )
        for i in range(2000)
    ]
    batch = encode(all_blocks(stored(tmp_path, rows)))
    assert batch is not None
    assert len(batch.body) / batch.json_bytes <= share
