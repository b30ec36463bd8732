"""Erasing on request: predictions leave the database and the objects that still wait for upload.

What a sink has already is out of reach. Sequence numbers that will never arrive are declared by an event,
so that whoever counts the records of a bucket sees why some are missing.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec

from edge_mlops_monitor import outbox
from edge_mlops_monitor.blocks import SEQ_BITS, Block
from edge_mlops_monitor.retention import PAGE_SIZE, declare, journal_bytes
from edge_mlops_monitor.schema import KINDS
from edge_mlops_monitor.store import Store
from edge_mlops_monitor.transaction import Transaction

PURGED_BEFORE = "purged before"  # state: a time and a token, for those who hold more than records


def erase(store: Store, *, before: float | None = None, prediction_id: str | None = None) -> dict[str, int]:
    """Erase everything recorded before a time, or one prediction and its labels; records erased, by kind."""
    erased: dict[str, int] = {}
    if prediction_id is not None:
        with store.transaction() as tx:
            tx.put(outbox.PURGES, os.urandom(8))
            block = tx.find_block(prediction_id)
            erased["predictions"] = _erase(tx, block, "id", prediction_id) if block else 0
            tx.sql("DELETE FROM caller_ids WHERE id = ?", (prediction_id,))
        erased["actuals"] = _erase_everywhere(store, "actuals", "prediction_id", prediction_id)
    if before is not None:
        with store.transaction() as tx:
            tx.put(PURGED_BEFORE, msgspec.msgpack.encode((before, os.urandom(8))))
        for kind in KINDS:
            erased[kind] = erased.get(kind, 0) + _erase_before(store, kind, before)
    store.scrub()
    return erased


def _erase_before(store: Store, kind: str, before: float) -> int:
    erased, after = 0, 0
    more = True
    while more:
        with store.transaction() as tx:
            tx.put(outbox.PURGES, os.urandom(8))
            more = False
            for block in _small_share(tx, kind, after, before):
                after, more = block.key, True
                erased += _take(tx, block, [record.ts < before for record in block.records()])
    return erased


def _small_share(tx: Transaction, kind: str, after: int, before: float) -> Iterator[Block]:
    """As many blocks as one commit may erase: one by one they would take long on a slow disk."""
    room = journal_bytes(tx.store.max_bytes) // 4
    where = "b.key > ? AND b.first_ts < ? ORDER BY b.key LIMIT 1"
    while room > 0 and (found := tx.blocks(kind, where, (after, before))):
        yield found[0]
        after = found[0].key
        room -= len(found[0].payload) + PAGE_SIZE


def _erase_everywhere(store: Store, kind: str, field: str, value: str) -> int:
    erased, after = 0, 0
    while found := store.blocks(kind, after, 1):
        after = found[0].key
        if any(getattr(record, field) == value for record in found[0].records()):
            with store.transaction() as tx:
                block = tx.blocks(kind, "b.key = ?", (after,))
                erased += _erase(tx, block[0], field, value) if block else 0
    return erased


def _erase(tx: Transaction, block: Block, field: str, value: str) -> int:
    return _take(tx, block, [getattr(record, field) == value for record in block.records()])


def _take(tx: Transaction, block: Block, unwanted: list[bool]) -> int:
    gone = [record.seq for record, drop in zip(block.records(), unwanted, strict=True) if drop]
    if not gone:
        return 0
    for row in outbox.overlapping(tx, block.kind, block.key >> SEQ_BITS, gone[0], gone[-1]):
        _rewrite_object(tx, row, set(gone))
    return tx.rewrite(block, unwanted, "purged")


def _rewrite_object(tx: Transaction, item: outbox.SealedObject, gone: set[int]) -> None:
    """Replace a waiting object by those parts of it that are to be kept, each under a key of its own.

    The old key is not used again: should its upload have succeeded unnoticed, bytes would differ.
    """
    body = outbox.body(tx.store, item.id)
    if body is None:
        return
    lines: list[tuple[int, bytes]] = []
    for line in zlib.decompress(body, 31).splitlines(keepends=True):
        lines.append((msgspec.json.decode(line)["seq"], line))
    if not any(number in gone for number, _ in lines):
        return
    sinks = outbox.sinks_of(tx, item.id)
    outbox.remove(tx, item.id)
    erased = sorted(number for number, _ in lines if number in gone)
    if sinks:
        declare(tx, item.kind, item.generation, erased, "purged")
    for part in _runs([(number, line) for number, line in lines], gone):
        _add_part(tx, item, part, sinks)


def _runs(lines: list[tuple[int, bytes]], gone: set[int]) -> list[list[tuple[int, bytes]]]:
    runs: list[list[tuple[int, bytes]]] = [[]]
    for number, line in lines:
        if number in gone:
            runs.append([])
        else:
            runs[-1].append((number, line))
    return [run for run in runs if run]


def _add_part(tx: Transaction, item: outbox.SealedObject, part: list[Any], sinks: list[str]) -> None:
    first, last = part[0][0], part[-1][0]
    stem = item.key[: -len(f"-{item.first_seq:012d}-{item.last_seq:012d}.jsonl.gz")]
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    body = packer.compress(b"".join(line for _, line in part)) + packer.flush()
    outbox.add(
        tx,
        key=f"{stem}-{first:012d}-{last:012d}.jsonl.gz",
        kind=item.kind,
        generation=item.generation,
        first_seq=first,
        last_seq=last,
        records=len(part),
        body=body,
        sinks=sinks,
        batch=item.batch,
        content_type=item.content_type,
    )
