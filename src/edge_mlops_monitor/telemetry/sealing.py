"""Seals what the store holds: from then on an object's key and bytes never change.

How far each kind is sealed is a mark in the store, moved in the transaction that adds the object. Two
processes may seal at the same time: the one that finds the mark moved throws its work away.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from edge_mlops_monitor import outbox
from edge_mlops_monitor.blocks import Block
from edge_mlops_monitor.telemetry.encoding import CONTENT_TYPE, Batch, encode

if TYPE_CHECKING:
    from edge_mlops_monitor.config.sections import Telemetry
    from edge_mlops_monitor.store import Store

URGENT = ("events", "drift")  # sealed and sent before all else
OTHERS = ("profiles", "actuals", "system", "predictions")
PAGE = 4  # blocks read at a time


class Sealer:
    """Makes objects for the sinks named, out of one store."""

    def __init__(self, store: Store, sinks: Sequence[str], settings: Telemetry) -> None:
        self.store = store
        self.sinks = tuple(sinks)
        self.settings = settings

    def seal(self, kinds: Iterable[str], max_records: int, group: str = "") -> str:
        """Seal up to `max_records` of each kind, the oldest first; the name of the group they form."""
        group = group or os.urandom(8).hex()
        for kind in kinds:
            left = max_records
            while left > 0:
                batch = self.seal_one(kind, left, group)
                if batch is None:
                    break
                left -= batch.records
        return group

    def seal_one(self, kind: str, max_records: int | None = None, group: str = "") -> Batch | None:
        """Seal one object; None where every record of the kind is sealed, or there is no sink."""
        while self.sinks:
            mark, purges = self.store.sealed(kind), self.store.get(outbox.PURGES)
            batch = self._encode(kind, mark, max_records)
            if batch is None or self._commit(batch, mark, purges, group):
                return batch
        return None

    def _encode(self, kind: str, mark: int, max_records: int | None) -> Batch | None:
        settings = self.settings
        most = settings.max_batch_size if max_records is None else min(max_records, settings.max_batch_size)
        return encode(self._blocks(kind, mark), mark, max_records=most, max_bytes=settings.max_batch_bytes)

    def _commit(self, batch: Batch, mark: int, purges: bytes | None, group: str) -> bool:
        """Add the object and move the mark; False where another process was faster."""
        with self.store.transaction() as tx:
            if tx.sealed(batch.kind) != mark or tx.get(outbox.PURGES) != purges:
                return False
            # First the mark: should the object need room, its own records may go, now that it holds them.
            tx.set_sealed(batch.kind, batch.mark)
            outbox.add(
                tx,
                key=batch.key(self.store.clock.time()),
                kind=batch.kind,
                generation=batch.generation_number,
                first_seq=batch.first_seq,
                last_seq=batch.last_seq,
                records=batch.records,
                body=batch.body,
                sinks=self.sinks,
                batch=group,
                content_type=CONTENT_TYPE,
            )
            return True

    def _blocks(self, kind: str, after: int) -> Iterator[Block]:
        while found := self.store.blocks(kind, after, PAGE):
            yield from found
            after = found[-1].key
