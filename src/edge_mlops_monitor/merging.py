"""Older profiles are merged when the bound on disk is reached: those of a day to one, then of four weeks.

Only neighbours are merged, and never what an object holds with what is not sealed yet: a reader of the bucket
would count its rows twice. A merged profile keeps the last of the sequence numbers it stands for.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from edge_mlops_monitor import blocks, outbox
from edge_mlops_monitor.blocks import SEQ_BITS, SEQ_MASK, Block
from edge_mlops_monitor.profiles import merge
from edge_mlops_monitor.records import Profile

if TYPE_CHECKING:
    from edge_mlops_monitor.transaction import Transaction

PERIODS = (86_400.0, 28 * 86_400.0)  # of Unix time: UTC days first
MOST_BLOCKS, MOST_BYTES = 8, 1 << 20  # merged at a time: the journal has to hold them
Taken = dict[tuple[str, int, str], list[int]]


def steps(tx: Transaction, waiting: bool, mark: int, taken: Taken) -> Iterator[bool]:
    """Merge the oldest first, as far as the caller goes on.

    With `waiting` those beyond the key `mark`, which no object holds yet; the numbers that are no more then
    go to `taken`. Otherwise those up to it.
    """
    for period in PERIODS:
        after = 0
        while keys := _neighbours(tx, after, waiting, mark, period):
            where = "b.key BETWEEN ? AND ? ORDER BY b.key"
            gone = _merge(tx, tx.blocks("profiles", where, (keys[0], keys[-1])), period)
            after = keys[-1] - 1 if gone else keys[-1]  # what was merged meets the next ones
            if gone and waiting:
                tx.put(outbox.PURGES, os.urandom(8))  # what was read before is not to be sealed
                taken.setdefault(("profiles", keys[-1] >> SEQ_BITS, "merged"), []).extend(gone)
            if gone:
                yield True


def _neighbours(tx: Transaction, after: int, waiting: bool, mark: int, period: float) -> list[int]:
    """The keys of the next blocks that lie in one generation and period; at least two, or none."""
    low, high = (max(after, mark), 1 << 62) if waiting else (after, mark)
    columns = "key, first_seq, first_ts, length(payload)"
    sql = f"SELECT {columns} FROM profiles WHERE key > ? AND key <= ? ORDER BY key"
    run: list[int] = []
    known: Any = None
    size = 0
    for key, first_seq, first_ts, length in tx.sql(sql, (low, high)):
        if waiting and mark >> SEQ_BITS == key >> SEQ_BITS and first_seq <= mark & SEQ_MASK:
            continue  # an object holds some of its records
        place = (key >> SEQ_BITS, first_ts // period)
        full = len(run) == MOST_BLOCKS or (len(run) > 1 and size + length > MOST_BYTES)
        if place == known and not full:
            run.append(key)
            size += length
        elif len(run) > 1:
            break
        else:
            run, known, size = [key], place, length
    return run if len(run) > 1 else []


def _merge(tx: Transaction, found: list[Block], period: float) -> list[int]:
    """Put the merged profiles in place of the blocks; the sequence numbers that are no more."""
    groups: dict[Any, list[Profile]] = defaultdict(list)
    for block in found:
        for record in block.records():
            assert isinstance(record, Profile)
            groups[_likeness(record, period)].append(record)
    numbers = {record.seq for group in groups.values() for record in group}
    if len(groups) == len(numbers):
        return []
    merged = [replace(merge(group), seq=max(one.seq for one in group)) for group in groups.values()]
    merged.sort(key=lambda record: record.seq)
    kept = [record.seq for record in merged]
    _replace(tx, found, blocks.pack("profiles", merged, kept), kept[0])
    gone = sorted(numbers.difference(kept))
    tx.sql("UPDATE sequences SET removed = removed + ? WHERE kind = 'profiles'", (len(gone),))
    return gone


def _replace(tx: Transaction, found: list[Block], packed: blocks.Packed, first_seq: int) -> None:
    *others, last = found
    for block in others:
        tx.sql("DELETE FROM profiles WHERE key = ?", (block.key,))
    columns = "first_seq = ?, records = ?, first_ts = ?, last_ts = ?, payload = ?"
    tx.sql(
        f"UPDATE profiles SET {columns} WHERE key = ?",
        (first_seq, packed.count, packed.first_ts, packed.last_ts, packed.payload, last.key),
    )


def _likeness(one: Profile, period: float) -> tuple[Any, ...]:
    """What profiles have in common that are merged without losing anything but the time."""
    return one.model, one.model_version, one.source, one.feature, one.reference, one.version, one.ts // period
