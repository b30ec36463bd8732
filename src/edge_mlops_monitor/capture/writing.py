"""One group commit: buffered rows become blocks, in one transaction with everything else that waits."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from edge_mlops_monitor import blocks
from edge_mlops_monitor.blocks import Packed
from edge_mlops_monitor.capture.redaction import Redaction
from edge_mlops_monitor.errors import StoreFullError
from edge_mlops_monitor.records import Record
from edge_mlops_monitor.retention import free_expendable
from edge_mlops_monitor.store import Store, Transaction

ROWS_PER_BLOCK = 500
NOT_LOST = {"sampled_out", "simplified", "duplicate_id", "timestamp_unreadable"}

# id, time, encoded row, whether the caller chose the id (so that it may stand in the store already)
Item = tuple[str, float, bytes, bool]
Encode = Callable[[Any], bytes]


def write_batch(
    store: Store,
    items: list[Item],
    others: Sequence[Record],
    counts: Counter[str],
    redaction: Redaction | None,
    encode: Encode,
) -> None:
    """Commit all of it, or raise StoreError with nothing changed; a full disk is met by giving up what
    nobody waits for."""
    if redaction is not None:
        items = [(id, ts, redact_row(row, redaction, encode), given) for id, ts, row, given in items]
    try:
        _commit(store, items, others, counts, encode)
    except StoreFullError:
        needed = sum(len(item[2]) for item in items) + 4096
        with store.transaction() as tx:
            free_expendable(tx, needed)
        _commit(store, items, others, counts, encode)


def _commit(
    store: Store, items: list[Item], others: Sequence[Record], counts: Counter[str], encode: Encode
) -> None:
    counts = Counter(counts)
    with store.transaction() as tx:
        items = _supersede(tx, items, counts, encode)
        for start in range(0, len(items), ROWS_PER_BLOCK):
            part = items[start : start + ROWS_PER_BLOCK]
            _, last = tx.append_block("predictions", _packed(part))
            _remember_ids(tx, part, last)
        by_kind: dict[str, list[Record]] = defaultdict(list)
        for record in others:
            by_kind[record.kind].append(record)
        for kind, records in by_kind.items():
            tx.append(kind, records)
        for reason, number in counts.items():
            tx.lost(reason, number)
        lost = sum(number for reason, number in counts.items() if reason not in NOT_LOST)
        if lost:
            reasons = ", ".join(
                f"{number} {reason}" for reason, number in counts.items() if reason not in NOT_LOST
            )
            tx.event("loss", "warning", f"{lost} records never reached the store: {reasons}", records=lost)


def _packed(items: Sequence[Item]) -> Packed:
    times = [item[1] for item in items]
    split = [blocks.split_id(item[0]) for item in items if not item[3]]
    own = [pair for pair in split if pair is not None]
    numbers = [number for _, number in own]
    return Packed(
        payload=blocks.join([item[2] for item in items]),
        count=len(items),
        first_ts=min(times),
        last_ts=max(times),
        session=own[0][0] if own else None,
        first_n=min(numbers, default=None),
        last_n=max(numbers, default=None),
    )


def _remember_ids(tx: Transaction, items: Sequence[Item], last_seq: int) -> None:
    key = tx.generation_number << blocks.SEQ_BITS | last_seq
    given = [(item[0], key) for item in items if item[3]]
    for row in given:
        tx.sql("INSERT OR REPLACE INTO caller_ids VALUES (?, ?)", row)


def _supersede(tx: Transaction, items: list[Item], counts: Counter[str], encode: Encode) -> list[Item]:
    """Where an id was given that stands already, here or in the store, the later record wins."""
    if not any(item[3] for item in items):
        return items
    place: dict[str, int] = {}
    kept: list[Item | None] = list(items)
    for index, item in enumerate(items):
        earlier = place.get(item[0])
        if earlier is not None and kept[earlier] is not None:
            kept[index], merged = _merged(items[earlier], item, encode)
            kept[earlier] = None
            counts["duplicate_id"] += not merged
        elif item[3]:
            kept[index] = _take_from_store(tx, item, counts, encode)
        place[item[0]] = index
    return [item for item in kept if item is not None]


def _take_from_store(tx: Transaction, item: Item, counts: Counter[str], encode: Encode) -> Item:
    block = tx.find_block(item[0])
    if block is None:
        return item
    records = block.records()
    earlier = [record for record in records if getattr(record, "id", None) == item[0]]
    if not earlier:
        return item
    old = earlier[-1]
    row = encode(tuple(getattr(old, name) for name in blocks.FIELDS["predictions"]))
    winner, merged = _merged((item[0], old.ts, row, True), item, encode)
    counts["duplicate_id"] += not merged
    tx.rewrite(block, [getattr(record, "id", None) == item[0] for record in records], "superseded")
    return winner


def _merged(earlier: Item, later: Item, encode: Encode) -> tuple[Item, bool]:
    """The later record; if the two are halves of one, both together (and True)."""
    old, new = msgspec.msgpack.decode(earlier[2]), msgspec.msgpack.decode(later[2])
    if old[6] is None and new[5] is None and old[8] is None:
        whole = (old[0], *new[1:5], old[5], new[6], max(0.0, new[0] - old[0]), *new[8:])
        return (later[0], old[0], encode(whole), True), True
    return later, old[6] is None and old[5] == new[5]


def redact_row(row: bytes, redaction: Redaction, encode: Encode) -> bytes:
    """A row with the redaction applied to its inputs, outputs and tags."""
    values = msgspec.msgpack.decode(row)
    for index, name in ((5, "inputs"), (6, "outputs"), (9, "tags")):
        values[index] = redaction.apply(name, values[index])
    return encode(values)
