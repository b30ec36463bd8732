"""What is given up when the bound on disk is reached, and what is erased on request.

Given up by value, not by age alone: first raw predictions and metrics that no sink waits for, then those
that one still waits for, oldest first; labels, drift results and events go last. Whatever a sink waited
for is declared as a range with a reason in an event of type `loss`, and everything is counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge_mlops_monitor import blocks, outbox
from edge_mlops_monitor.blocks import SEQ_BITS, SEQ_MASK

if TYPE_CHECKING:
    from edge_mlops_monitor.transaction import Transaction

PAGE_SIZE = 4096
RESERVE_BYTES = 256 << 10  # free pages in the file, and as much in its journal, for when the disk is full
CHUNK = (
    64  # part of the bound that is freed at a time: seldom enough to spare flash, small enough to be short
)
ORDER = ("predictions", "system", "actuals", "drift", "events")
WISHED = ("purged", "superseded")  # reasons that are no loss: the user's order, or a later record
SPARE_PAGES = 96  # kept free within the bound: room for the declaration of what was given up


def make_room(tx: Transaction, incoming: int) -> None:
    """Free what `incoming` bytes need under the bound, and shrink a file that is above it."""
    needed = incoming // PAGE_SIZE + 3
    if tx.room < needed:
        limit = (tx.store.max_bytes - 2 * RESERVE_BYTES) // PAGE_SIZE - SPARE_PAGES
        if _used(tx) + needed > limit:
            tx.write_sequences()
            _give_up(tx, limit - needed - max(limit // CHUNK, needed))
        pages: int = tx.sql("PRAGMA page_count").fetchone()[0]
        if pages > limit + SPARE_PAGES:
            tx.sql(f"PRAGMA incremental_vacuum({pages - limit})").fetchall()
        _keep_newest(tx)
        tx.room = limit - _used(tx)
    tx.room -= needed


def free_expendable(tx: Transaction, incoming: int) -> None:
    """On a full disk: remove what no sink waits for until `incoming` bytes fit into the pages we have."""
    taken: dict[tuple[str, int, str], list[int]] = {}
    for kind in ("predictions", "system"):
        while tx.sql("PRAGMA freelist_count").fetchone()[0] * PAGE_SIZE < 2 * incoming:
            if not _drop_oldest(tx, kind, False, taken):
                break


def _used(tx: Transaction) -> int:
    pages: int = tx.sql("PRAGMA page_count").fetchone()[0]
    free: int = tx.sql("PRAGMA freelist_count").fetchone()[0]
    return pages - free


def _give_up(tx: Transaction, target_pages: int) -> None:
    """Remove the least valuable, oldest first, until the used pages are at `target_pages`."""
    taken: dict[tuple[str, int, str], list[int]] = {}
    for waiting in (False, True):
        for kind in ORDER:
            while _used(tx) > target_pages:
                if not (
                    _drop_oldest(tx, kind, waiting, taken)
                    or (waiting and outbox.drop_oldest(tx, kind, taken))
                ):
                    break
    for (kind, generation, reason), numbers in taken.items():
        declare(tx, kind, generation, numbers, reason)


def _drop_oldest(
    tx: Transaction, kind: str, waiting: bool, taken: dict[tuple[str, int, str], list[int]]
) -> bool:
    """Remove the oldest few blocks of a kind; False where there is none left of that sort."""
    mark = tx.sealed(kind) if tx.store.has_sinks else 1 << 62
    where = "key > ?" if waiting else "key <= ?"
    rows = tx.sql(
        f"SELECT key, first_seq, records FROM {kind} WHERE {where} ORDER BY key LIMIT 8", (mark,)
    ).fetchall()
    for key, first_seq, _ in rows:
        if waiting:
            numbers = taken.setdefault((kind, key >> SEQ_BITS, "storage_full"), [])
            numbers.extend(range(max(first_seq, _first_unsealed(mark, key)), (key & SEQ_MASK) + 1))
    _delete(tx, kind, rows)
    return bool(rows)


def _first_unsealed(mark: int, key: int) -> int:
    return (mark & SEQ_MASK) + 1 if mark >> SEQ_BITS == key >> SEQ_BITS else 0


def _delete(tx: Transaction, kind: str, rows: list[Any]) -> None:
    for key, _, records in rows:
        tx.sql(f"DELETE FROM {kind} WHERE key = ?", (key,))
        tx.sql("UPDATE sequences SET removed = removed + ? WHERE kind = ?", (records, kind))
    if kind == "predictions" and rows:
        tx.sql("DELETE FROM caller_ids WHERE key <= ?", (rows[-1][0],))


def declare(tx: Transaction, kind: str, generation: int, numbers: list[int], reason: str) -> None:
    """Say by an event that these sequence numbers will never arrive; what was not wished for is counted."""
    wished = reason in WISHED
    if not wished:
        tx.lost(reason, len(numbers))
    name = tx.sql("SELECT name FROM generations WHERE number = ?", (generation,)).fetchone()[0]
    numbers.sort()
    spans = blocks.ranges(numbers)
    for first, last in spans[:64]:
        tx.event(
            "gap" if wished else "loss",
            "info" if wished else "warning",
            f"{last - first + 1} {kind} records {'have gone' if wished else 'were given up'}: {reason}",
            kind=kind,
            generation=name,
            first_seq=first,
            last_seq=last,
            records=last - first + 1,
            reason=reason,
        )


def _keep_newest(tx: Transaction) -> None:
    """Honour `model_logging.buffer_size`: of what no sink waits for, keep only that many predictions."""
    keep = tx.store.keep_predictions
    if keep is None:
        return
    stored: int = tx.sql("SELECT stored - removed FROM sequences WHERE kind = 'predictions'").fetchone()[0]
    mark = tx.sealed("predictions") if tx.store.has_sinks else 1 << 62
    while stored > keep:
        rows = tx.sql(
            "SELECT key, first_seq, records FROM predictions WHERE key <= ? ORDER BY key LIMIT 1", (mark,)
        ).fetchall()
        if not rows or stored - rows[0][2] < keep:
            return
        _delete(tx, "predictions", rows)
        stored -= rows[0][2]
