"""Sealed objects that wait for their sinks: added once, settled once for each, set aside where refused.

An object's key and bytes never change after `add`. Its body is removed when no sink waits for it any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from edge_mlops_monitor.store import Store
    from edge_mlops_monitor.transaction import Transaction

PURGES = "purges"  # state that every erasure changes: what was read before it is not sealed after it
MAX_DEAD_LETTERS = 100


class SealedObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object as the outbox lists it; its bytes are read apart, by `body`."""

    id: int
    key: str
    kind: str
    generation: int
    first_seq: int
    last_seq: int
    records: int
    batch: str
    content_type: str
    size: int
    created: float


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """An object that a sink refused for ever, with the sink's reason."""

    id: int
    key: str
    sink: str
    reason: str
    records: int


_COLUMNS = ", ".join(f"o.{name}" for name in SealedObject.__struct_fields__)


def add(
    tx: Transaction,
    *,
    key: str,
    kind: str,
    generation: int,
    first_seq: int,
    last_seq: int,
    records: int,
    body: bytes,
    sinks: Iterable[str],
    batch: str = "",
    content_type: str = "application/gzip",
) -> int:
    """Take an object for `sinks` into the outbox; its id. `generation` is the number, not the name."""
    from edge_mlops_monitor import retention  # which drops objects itself: late, to break the circle

    retention.make_room(tx, len(body))
    number = tx.sql(
        "INSERT INTO objects (key, kind, generation, first_seq, last_seq, records, batch, content_type, "
        "size, created) VALUES (?,?,?,?,?,?,?,?,?,?)",
        (
            key,
            kind,
            generation,
            first_seq,
            last_seq,
            records,
            batch,
            content_type,
            len(body),
            tx.store.clock.time(),
        ),
    ).lastrowid
    assert number is not None
    tx.sql("INSERT INTO bodies VALUES (?, ?)", (number, body))
    for sink in sinks:
        tx.sql("INSERT INTO deliveries VALUES (?, ?, NULL)", (sink, number))
    return number


def pending(
    store: Store, sink: str, *, kinds: Sequence[str] = (), newest: bool = False, limit: int = 10
) -> list[SealedObject]:
    """Objects that `sink` still waits for, of `kinds` (all, if empty), oldest or newest first."""
    chosen = f"AND o.kind IN ({', '.join('?' * len(kinds))})" if kinds else ""
    rows = store.query(
        f"SELECT {_COLUMNS} FROM deliveries d JOIN objects o ON o.id = d.object "
        f"WHERE d.sink = ? AND d.dead IS NULL {chosen} ORDER BY o.id {'DESC' if newest else ''} LIMIT ?",
        (sink, *kinds, limit),
    )
    return [_object(row) for row in rows]


def newest(store: Store) -> int:
    """The id of the object sealed last of those that wait; 0 where there is none."""
    return int(store.query("SELECT coalesce(max(id), 0) FROM objects")[0][0])


def waits(store: Store, up_to: int) -> bool:
    """Whether any sink still waits for an object with an id up to this."""
    return bool(store.query("SELECT 1 FROM deliveries WHERE dead IS NULL AND object <= ? LIMIT 1", (up_to,)))


def pending_count(store: Store, sink: str | None = None, up_to: int = 1 << 62) -> int:
    """Objects that wait for `sink`, or for any sink those with an id up to `up_to`."""
    if sink is None:
        sql = "SELECT count(DISTINCT object) FROM deliveries WHERE dead IS NULL AND object <= ?"
        return int(store.query(sql, (up_to,))[0][0])
    sql = "SELECT count(*) FROM deliveries WHERE dead IS NULL AND sink = ?"
    return int(store.query(sql, (sink,))[0][0])


def body(store: Store, object_id: int) -> bytes | None:
    """The bytes of an object; None where it was given up meanwhile."""
    rows = store.query("SELECT body FROM bodies WHERE object = ?", (object_id,))
    return bytes(rows[0][0]) if rows else None


def settle(tx: Transaction, object_id: int, sink: str) -> None:
    """The sink has the object."""
    tx.sql("DELETE FROM deliveries WHERE sink = ? AND object = ?", (sink, object_id))
    _forget_unwanted(tx, object_id)


def dead_letter(tx: Transaction, object_id: int, sink: str, reason: str) -> None:
    """The sink refuses the object for ever: set it aside, and the oldest such beyond the bound away."""
    tx.sql("UPDATE deliveries SET dead = ? WHERE sink = ? AND object = ?", (reason[:500], sink, object_id))
    surplus = tx.sql(
        "SELECT object FROM deliveries WHERE sink = ? AND dead IS NOT NULL "
        "ORDER BY object DESC LIMIT -1 OFFSET ?",
        (sink, MAX_DEAD_LETTERS),
    ).fetchall()
    for (number,) in surplus:
        _give_up(tx, number, sink, "refused by the sink")


def dead_letters(store: Store, sink: str | None = None) -> list[DeadLetter]:
    """What was set aside, oldest first."""
    rows = store.query(
        "SELECT o.id, o.key, d.sink, d.dead, o.records FROM deliveries d JOIN objects o ON o.id = d.object "
        "WHERE d.dead IS NOT NULL AND (:sink IS NULL OR d.sink = :sink) ORDER BY o.id",
        {"sink": sink},
    )
    return [DeadLetter(id=row[0], key=row[1], sink=row[2], reason=row[3], records=row[4]) for row in rows]


def revive(tx: Transaction, sink: str | None = None) -> int:
    """Let dead letters be sent again; how many."""
    return int(
        tx.sql(
            "UPDATE deliveries SET dead = NULL WHERE dead IS NOT NULL AND (:sink IS NULL OR sink = :sink)",
            {"sink": sink},
        ).rowcount
    )


def drop_oldest(tx: Transaction, kind: str, taken: dict[tuple[str, int, str], list[int]]) -> bool:
    """Give up the oldest waiting object of a kind, its numbers go to `taken`; False where there is none."""
    row = tx.sql(
        "SELECT id, generation, first_seq, last_seq FROM objects WHERE kind = ? ORDER BY id LIMIT 1", (kind,)
    ).fetchone()
    if row is None:
        return False
    number, generation, first_seq, last_seq = row
    taken.setdefault((kind, generation, "storage_full"), []).extend(range(first_seq, last_seq + 1))
    remove(tx, number)
    return True


def overlapping(tx: Transaction, kind: str, generation: int, first: int, last: int) -> list[SealedObject]:
    """The waiting objects that hold any of these sequence numbers."""
    rows = tx.sql(
        f"SELECT {_COLUMNS} FROM objects o "
        "WHERE kind = ? AND generation = ? AND first_seq <= ? AND last_seq >= ?",
        (kind, generation, last, first),
    ).fetchall()
    return [_object(row) for row in rows]


def sinks_of(tx: Transaction, object_id: int) -> list[str]:
    """The sinks that still wait for an object."""
    return [row[0] for row in tx.sql("SELECT sink FROM deliveries WHERE object = ?", (object_id,))]


def remove(tx: Transaction, object_id: int) -> None:
    """Take an object out of the outbox, whoever waits for it."""
    tx.sql("DELETE FROM deliveries WHERE object = ?", (object_id,))
    _forget_unwanted(tx, object_id)


def _object(row: tuple[Any, ...]) -> SealedObject:
    return SealedObject(**dict(zip(SealedObject.__struct_fields__, row, strict=True)))


def _give_up(tx: Transaction, object_id: int, sink: str, reason: str) -> None:
    from edge_mlops_monitor import retention  # which drops objects itself: late, to break the circle

    row = tx.sql(
        "SELECT kind, generation, first_seq, last_seq FROM objects WHERE id = ?", (object_id,)
    ).fetchone()
    settle(tx, object_id, sink)
    retention.declare(tx, row[0], row[1], list(range(row[2], row[3] + 1)), f"{reason} '{sink}'")


def _forget_unwanted(tx: Transaction, object_id: int) -> None:
    if tx.sql("SELECT 1 FROM deliveries WHERE object = ? LIMIT 1", (object_id,)).fetchone() is None:
        tx.sql("DELETE FROM bodies WHERE object = ?", (object_id,))
        tx.sql("DELETE FROM objects WHERE id = ?", (object_id,))
