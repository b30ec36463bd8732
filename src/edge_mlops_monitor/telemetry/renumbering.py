"""What happens to an object whose key is taken by another content.

Two devices, or a database and its restored copy, count with the same numbers. Neither overwrites the
other: this one begins a new generation, and the records of the object are stored again under it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from edge_mlops_monitor import outbox
from edge_mlops_monitor.outbox import SealedObject
from edge_mlops_monitor.records import KINDS
from edge_mlops_monitor.telemetry.encoding import parse_key

if TYPE_CHECKING:
    from edge_mlops_monitor.transaction import Transaction

SLICE = 1000  # records of one block


def renumber(tx: Transaction, item: SealedObject, reason: str, sinks: Iterable[str]) -> None:
    """Give the records of an object new numbers, in a new generation if need be, and say so by an event.

    All of it happens in the caller's transaction: after a crash it is either done or not begun. Sinks
    that still wait for the object get the records under their new numbers alone.
    """
    body = outbox.body(tx.store, item.id)
    if item.generation == tx.generation_number:
        tx.begin_generation(f"another device or a restored database uses the same numbers: {reason}")
    if body is not None:
        lines = zlib.decompress(body, 31).splitlines()
        record = msgspec.json.Decoder(KINDS[item.kind])
        for start in range(0, len(lines), SLICE):
            tx.append(item.kind, [record.decode(line) for line in lines[start : start + SLICE]])
    tx.event(
        "renumbered",
        "warning",
        f"{item.records} {item.kind} records were stored again under new numbers: {reason}",
        kind=item.kind,
        generation=parse_key(item.key).generation,
        first_seq=item.first_seq,
        last_seq=item.last_seq,
        records=item.records,
        reason=reason,
    )
    for sink in sinks:
        outbox.settle(tx, item.id, sink)
