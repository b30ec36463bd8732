"""What can be done inside one transaction of the store; all SQL about blocks and state is here."""

from __future__ import annotations

import os
import sqlite3
from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edge_mlops_monitor import blocks, schema
from edge_mlops_monitor.blocks import SEQ_BITS, Block, Packed
from edge_mlops_monitor.records import Event, Record
from edge_mlops_monitor.retention import declare, make_room

if TYPE_CHECKING:
    from edge_mlops_monitor.store import Store

_BLOCK_COLUMNS = (
    "b.key, g.name, g.boot_id, g.device_id, b.first_seq, b.records, b.session, b.first_ts, b.last_ts, "
    "b.synced, b.payload"
)

MOST_PARAMETERS = 500  # of one statement
ID = blocks.FIELDS["predictions"].index("id")


class Transaction:
    """What can be done inside `Store.transaction`; all of it is committed, or none."""

    def __init__(self, store: Store, connection: sqlite3.Connection) -> None:
        self.store = store
        self.sql = connection.execute
        row = self.sql(
            "SELECT number, name, device_id FROM generations ORDER BY number DESC LIMIT 1"
        ).fetchone()
        self.generation_number: int = row[0] if row else 0
        self.generation: str = row[1] if row else ""
        self.device_id: str = row[2] if row else ""
        self.room = 0  # pages known to be free under the bound
        self.giving_up = False
        self._appended: dict[str, tuple[int, int]] = {}  # kind -> last number, records appended

    def append(self, kind: str, records: Sequence[Record]) -> tuple[int, int]:
        """Store records (`ts` is theirs, the rest of the envelope the store's); their sequence range."""
        return self.append_block(kind, blocks.pack(kind, records))

    def append_block(self, kind: str, packed: Packed) -> tuple[int, int]:
        """Store a packed block, making room first where the bound on disk asks for it."""
        make_room(self, len(packed.payload))
        first_seq = self._last_seq(kind) + 1
        last_seq = first_seq + packed.count - 1
        row = (
            self.generation_number << SEQ_BITS | last_seq,
            first_seq,
            packed.count,
            packed.session,
            packed.first_n,
            packed.last_n,
            packed.first_ts,
            packed.last_ts,
            self._synchronised(),
            packed.payload,
        )
        self.sql(f"INSERT INTO {kind} VALUES (?,?,?,?,?,?,?,?,?,?)", row)
        self._appended[kind] = (last_seq, self._appended[kind][1] + packed.count)
        return first_seq, last_seq

    def write_sequences(self) -> None:
        """Write down the last numbers given; called before the commit, once for all that was appended."""
        for kind, (last_seq, count) in self._appended.items():
            sql = "UPDATE sequences SET last_seq = ?, stored = stored + ? WHERE kind = ?"
            self.sql(sql, (last_seq, count, kind))
        self._appended.clear()

    def _last_seq(self, kind: str) -> int:
        if kind not in self._appended:
            row = self.sql("SELECT last_seq FROM sequences WHERE kind = ?", (kind,)).fetchone()
            self._appended[kind] = (row[0], 0)
        return self._appended[kind][0]

    def _synchronised(self) -> int | None:
        synced = self.store.clock.is_synchronised()
        return None if synced is None else int(synced)

    def event(self, type: str, severity: str, message: str, **data: Any) -> Event:
        """Store one event, now."""
        event = Event(
            ts=self.store.clock.time(),
            id=os.urandom(8).hex(),
            type=type,
            severity=severity,
            message=message,
            data=data,
        )
        self.append("events", [event])
        return event

    def lost(self, reason: str, records: int) -> None:
        """Count records that were given up, by reason."""
        self.sql("INSERT OR IGNORE INTO losses VALUES (?, 0)", (reason,))
        self.sql("UPDATE losses SET records = records + ? WHERE reason = ?", (records, reason))

    def blocks(self, kind: str, where: str, parameters: Sequence[Any]) -> list[Block]:
        """The blocks (alias `b`) that an SQL condition selects."""
        _check_kind(kind)
        sql = (
            f"SELECT {_BLOCK_COLUMNS} FROM {kind} b JOIN generations g ON g.number = b.key >> {SEQ_BITS} "
            f"WHERE {where}"
        )
        return [
            Block(
                kind=kind,
                key=row[0],
                generation=row[1],
                boot_id=row[2],
                device_id=row[3],
                first_seq=row[4],
                count=row[5],
                session=row[6],
                first_ts=row[7],
                last_ts=row[8],
                synced=None if row[9] is None else bool(row[9]),
                payload=row[10],
            )
            for row in self.sql(sql, parameters)
        ]

    def newest_key(self, kind: str) -> int:
        """The key of the newest block of a kind; 0 where there is none."""
        _check_kind(kind)
        row: tuple[int] = self.sql(f"SELECT coalesce(max(key), 0) FROM {kind}").fetchone()
        return row[0]

    def find_block(self, prediction_id: str) -> Block | None:
        """The block that holds a prediction, if it is still here."""
        row = self.sql("SELECT key FROM caller_ids WHERE id = ?", (prediction_id,)).fetchone()
        found = self.blocks("predictions", "b.key = ?", row) if row else []
        split = blocks.split_id(prediction_id)
        if not found and split is not None:
            where = "b.session = ? AND b.first_n <= ? AND b.last_n >= ? ORDER BY b.key DESC LIMIT 1"
            found = self.blocks("predictions", where, (split[0], split[1], split[1]))
        return found[0] if found else None

    def find_predictions(self, ids: Sequence[str]) -> dict[str, list[Any]]:
        """The rows (see `FIELDS`) of those of these predictions that are still here, each block read once."""
        wanted = set(ids)
        found: dict[str, list[Any]] = {}
        for key in sorted(self._keys_of(sorted(wanted))):
            for block in self.blocks("predictions", "b.key = ?", (key,)):
                found.update({row[ID]: row for row in block.rows() if row[ID] in wanted})
        return found

    def _keys_of(self, ids: Sequence[str]) -> set[int]:
        """The blocks in which these predictions may be."""
        keys: set[int] = set()
        for begin in range(0, len(ids), MOST_PARAMETERS):
            part = ids[begin : begin + MOST_PARAMETERS]
            marks = ",".join("?" * len(part))
            keys.update(row[0] for row in self.sql(f"SELECT key FROM caller_ids WHERE id IN ({marks})", part))
        numbers: dict[str, list[int]] = {}
        for split in filter(None, map(blocks.split_id, ids)):
            numbers.setdefault(split[0], []).append(split[1])
        sql = (
            "SELECT key, first_n, last_n FROM predictions WHERE session = ? AND first_n <= ? AND last_n >= ?"
        )
        for session, wanted in numbers.items():
            wanted.sort()
            for key, first, last in self.sql(sql, (session, wanted[-1], wanted[0])):
                place = bisect_left(wanted, first)
                if place < len(wanted) and wanted[place] <= last:
                    keys.add(key)
        return keys

    def rewrite(self, block: Block, unwanted: Sequence[bool], reason: str) -> int:
        """Take records out of a block; what a sink waited for is declared as given up. How many went."""
        packed, gone = blocks.without(block, unwanted)
        if not gone:
            return 0
        if packed is None:
            self.sql(f"DELETE FROM {block.kind} WHERE key = ?", (block.key,))
        else:
            values = (packed.payload, packed.count, packed.first_ts, packed.last_ts, block.key)
            sql = f"UPDATE {block.kind} SET payload=?, records=?, first_ts=?, last_ts=? WHERE key = ?"
            self.sql(sql, values)
        self.sql("UPDATE sequences SET removed = removed + ? WHERE kind = ?", (len(gone), block.kind))
        unsealed = [seq for seq in gone if not self._is_sealed(block, seq)]
        if unsealed:
            declare(self, block.kind, block.key >> SEQ_BITS, unsealed, reason)
        return len(gone)

    def _is_sealed(self, block: Block, seq: int) -> bool:
        """Whether an object holds the record already, or none ever will."""
        if not self.store.has_sinks:
            return True
        return block.key >> SEQ_BITS << SEQ_BITS | seq <= self.sealed(block.kind)

    def get(self, name: str) -> bytes | None:
        """A small piece of state, by name."""
        row = self.sql("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def put(self, name: str, value: bytes | None) -> None:
        """Set a piece of state; None removes it."""
        if value is None:
            self.sql("DELETE FROM state WHERE name = ?", (name,))
        else:
            self.sql("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, value))

    def sealed(self, kind: str) -> int:
        """Up to which key the records of a kind have been sealed for upload."""
        row: tuple[int] = self.sql("SELECT sealed FROM sequences WHERE kind = ?", (kind,)).fetchone()
        return row[0]

    def set_sealed(self, kind: str, key: int) -> None:
        """Move the mark that `sealed` reads."""
        self.sql("UPDATE sequences SET sealed = ? WHERE kind = ?", (key, kind))

    def begin_generation(self, reason: str, device_id: str | None = None) -> str:
        """Count from 1 under a new name; the first event names the previous one and its last numbers."""
        self.write_sequences()
        previous = self.generation
        last = dict(self.sql("SELECT kind, last_seq FROM sequences WHERE last_seq > 0"))
        # After a database was lost the numbers go on, since cursors held in memory must not be ahead of it.
        known = int(self.store.generation.partition(".")[0] or 0)
        self.generation_number = max(self.generation_number, known) + 1
        self.generation = f"{self.generation_number:05d}.{os.urandom(4).hex()}"
        self.device_id = device_id or self.device_id
        self.sql(
            "INSERT INTO generations VALUES (?,?,?,?,?,?)",
            (
                self.generation_number,
                self.generation,
                self.device_id,
                self.store.clock.boot_id(),
                self.store.clock.time(),
                reason,
            ),
        )
        self.sql("UPDATE sequences SET last_seq = 0")
        self.event(
            "generation",
            "info",
            f"sequence numbers begin anew: {reason}",
            reason=reason,
            generation=self.generation,
            previous=previous or None,
            previous_last_seq=last,
        )
        return self.generation


def _check_kind(kind: str) -> None:
    if kind not in schema.KINDS:
        raise ValueError(f"unknown kind '{kind}'; known: {', '.join(schema.KINDS)}")
