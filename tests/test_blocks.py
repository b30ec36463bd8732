"""Rows of a block into records."""

from __future__ import annotations

import msgspec

from edge_mlops_monitor import blocks
from edge_mlops_monitor.blocks import Block
from edge_mlops_monitor.records import Prediction


def block_of(rows: list[list[object]]) -> Block:
    return Block(
        kind="predictions",
        key=5 << blocks.SEQ_BITS | len(rows),
        generation="00005.9f1c22aa",
        boot_id="b",
        device_id="pi-7",
        first_seq=1,
        count=len(rows),
        session=None,
        first_ts=0.0,
        last_ts=1.0,
        synced=True,
        payload=blocks.join([msgspec.msgpack.encode(row) for row in rows]),
    )


def test_a_row_of_an_older_version_that_lacks_fields_gets_none_of_another_row() -> None:
    whole = [1.0, "a", "m", "1", "line", {"x": 1}, {"y": 2}, 0.5, "ValueError", {"k": "v"}]
    found = block_of([whole, [2.0, "b"], whole]).records()
    first, second, third = found
    assert second == Prediction(
        ts=2.0, id="b", seq=2, generation="00005.9f1c22aa", boot_id="b", device_id="pi-7", clock_synced=True
    )
    assert msgspec.structs.replace(third, seq=1) == first
    assert isinstance(first, Prediction)
    assert (first.error, first.tags, first.latency_seconds) == ("ValueError", {"k": "v"}, 0.5)


def test_a_row_of_a_newer_version_that_has_more_fields_is_read_as_far_as_it_is_known() -> None:
    whole = [1.0, "a", "m", "1", "line", {"x": 1}, {"y": 2}, 0.5, "ValueError", {"k": "v"}]
    assert block_of([[*whole, "new"]]).records() == block_of([whole]).records()
