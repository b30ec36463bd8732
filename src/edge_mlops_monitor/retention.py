"""What is given up when the bound on disk is reached, and what is erased on request.

Given up by value, not by age alone: first raw predictions and metrics that no sink waits for, then those
that one still waits for, oldest first; then older profiles are merged; labels, profiles, drift results and
events go last, in this order. Whatever a sink waited for is declared as a range with a reason in an event
of type `loss`, and everything is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from edge_mlops_monitor import blocks, outbox
from edge_mlops_monitor.blocks import SEQ_BITS, SEQ_MASK
from edge_mlops_monitor.records import Event

if TYPE_CHECKING:
    from edge_mlops_monitor.transaction import Transaction

PAGE_SIZE = 2048  # 8 % fewer bytes written than with 4096, for 1 us a prediction: docs/decisions/0001
RESERVE_BYTES = 256 << 10  # in a fresh file, and as much in its journal, for when the disk is full
CHUNK = 64  # part of the bound that is freed at a time: seldom enough to spare flash, and soon done
ORDER = ("predictions", "system", "actuals", "profiles", "drift", "events")
MERGED_BEFORE = "actuals"  # older profiles are merged before any of these goes
WISHED = ("purged", "superseded", "merged")  # no loss: the user's order, a later record, one for several
SPARE_PAGES = 192  # kept free within the bound: room for the declaration of what was given up


def journal_bytes(max_bytes: int) -> int:
    """The share of the bound that is the journal's; a commit should append no more than half of it."""
    return min(max(max_bytes // 8, 128 << 10), 4 << 20)


def most_pages(max_bytes: int) -> int:
    """The pages that the database file may have."""
    return max((max_bytes - journal_bytes(max_bytes)) // PAGE_SIZE, 64)


def make_room(tx: Transaction, incoming: int) -> None:
    """Free what `incoming` bytes need under the bound."""
    needed = incoming // PAGE_SIZE + 3
    if tx.room < needed and not tx.giving_up:
        limit = _limit(tx)
        if _used(tx) + needed > limit:
            tx.write_sequences()
            _give_up(tx, limit - needed - max(limit // CHUNK, needed))
        _keep_newest(tx)
        tx.room = limit - _used(tx)
    tx.room -= needed


def shrink(tx: Transaction) -> bool:
    """One step towards a lower bound, small enough for the journal; True where there is more to do."""
    most, step = most_pages(tx.store.max_bytes), journal_bytes(tx.store.max_bytes) // PAGE_SIZE // 2
    pages: int = tx.sql("PRAGMA page_count").fetchone()[0]
    if pages <= most:
        tx.sql(f"PRAGMA max_page_count = {most}")
        return False
    used = _used(tx)
    if used > _limit(tx):
        _give_up(tx, max(_limit(tx), used - 2 * step))
        return _used(tx) < used
    cut_off(tx.sql, min(step, pages - most))
    return True


def cut_off(sql: Callable[[str], Any], pages: int) -> bool:
    """Give up to so many free pages back to the file system; True where there are more."""
    for _ in range(pages):
        # One at a time: Python ends a statement without columns after its first step, and that is one page.
        sql("PRAGMA incremental_vacuum(1)")
    left: int = sql("PRAGMA freelist_count").fetchone()[0]
    return left > 0


def _limit(tx: Transaction) -> int:
    most = most_pages(tx.store.max_bytes)
    return most - min(SPARE_PAGES, most // 8)


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
            if kind == MERGED_BEFORE:
                _merge_profiles(tx, waiting, target_pages, taken)
            # What is sealed is older than what is not.
            while _used(tx) > target_pages and (
                (waiting and outbox.drop_oldest(tx, kind, taken))
                or _drop_oldest(tx, kind, waiting, taken, target_pages)
            ):
                pass
    tx.giving_up = True  # the declarations themselves go into the spare pages
    for (kind, generation, reason), numbers in taken.items():
        declare(tx, kind, generation, numbers, reason)
    tx.giving_up = False


def _merge_profiles(
    tx: Transaction, waiting: bool, target_pages: int, taken: dict[tuple[str, int, str], list[int]]
) -> None:
    """Put one profile in place of many, until the used pages are at `target_pages` or no two are alike."""
    if _used(tx) <= target_pages or tx.sql("SELECT count(*) FROM profiles").fetchone()[0] < 2:
        return
    from edge_mlops_monitor import merging  # late: it brings NumPy

    for _ in merging.steps(tx, waiting, _mark(tx, "profiles"), taken):
        if _used(tx) <= target_pages:
            return


def _mark(tx: Transaction, kind: str) -> int:
    """The key up to which no sink waits for the blocks of a kind."""
    return tx.sealed(kind) if tx.store.has_sinks else 1 << 62


def _drop_oldest(
    tx: Transaction,
    kind: str,
    waiting: bool,
    taken: dict[tuple[str, int, str], list[int]],
    target_pages: int = 0,
) -> bool:
    """Remove the oldest few blocks of a kind; False where there is none left of that sort."""
    mark = _mark(tx, kind)
    where = "key > ?" if waiting else "key <= ?"
    rows = tx.sql(
        f"SELECT key, first_seq, records FROM {kind} WHERE {where} ORDER BY key LIMIT 8", (mark,)
    ).fetchall()
    for row in rows:
        if waiting:
            numbers = taken.setdefault((kind, row[0] >> SEQ_BITS, "storage_full"), [])
            numbers.extend(_unsealed(tx, kind, row, mark))
        _delete(tx, kind, [row])
        if _used(tx) <= target_pages:
            break
    return bool(rows)


def _unsealed(tx: Transaction, kind: str, row: Any, mark: int) -> Iterable[int]:
    """The numbers in a block that no object holds; those taken out of it before were declared then."""
    key, first_seq, records = row
    first, last = max(first_seq, _first_unsealed(mark, key)), key & SEQ_MASK
    if records == last - first_seq + 1:
        return range(first, last + 1)
    (block,) = tx.blocks(kind, "b.key = ?", (key,))
    return [record.seq for record in block.records() if record.seq >= first]


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
    if reason not in WISHED:
        tx.lost(reason, len(numbers))
    name = tx.sql("SELECT name FROM generations WHERE number = ?", (generation,)).fetchone()[0]
    for first, last in blocks.ranges(sorted(numbers)):
        data = {"kind": kind, "generation": name, "first_seq": first, "last_seq": last, "reason": reason}
        if not _extend(tx, data):
            tx.event(*_said(data), **data, records=last - first + 1)


def _said(data: dict[str, Any]) -> tuple[str, str, str]:
    """Type, severity and message of a declaration."""
    records, kind, reason = data["last_seq"] - data["first_seq"] + 1, data["kind"], data["reason"]
    if reason in WISHED:
        return "gap", "info", f"{records} {kind} records have gone: {reason}"
    return "loss", "warning", f"{records} {kind} records were given up: {reason}"


def _extend(tx: Transaction, data: dict[str, Any]) -> bool:
    """Widen a recent declaration that ends just before this one and that nobody has sent away yet.

    A device that is offline for weeks would otherwise fill itself with declarations.
    """
    where = "b.key > ? AND b.records = 1 ORDER BY b.key DESC LIMIT 4"
    for block in tx.blocks("events", where, (tx.sealed("events"),)):
        (event,) = block.records()
        assert isinstance(event, Event)
        whole = {**data, "first_seq": event.data.get("first_seq")}
        known = {**event.data, "last_seq": data["last_seq"]}
        if event.data.get("last_seq") == data["first_seq"] - 1 and known.pop("records", 0) and known == whole:
            whole["records"] = whole["last_seq"] - whole["first_seq"] + 1
            packed = blocks.pack("events", [replace(event, message=_said(whole)[2], data=whole)])
            tx.sql("UPDATE events SET payload = ? WHERE key = ?", (packed.payload, block.key))
            return True
    return False


def _keep_newest(tx: Transaction) -> None:
    """Honour `model_logging.buffer_size`: of what no sink waits for, keep only that many predictions."""
    keep = tx.store.keep_predictions
    if keep is None:
        return
    stored: int = tx.sql("SELECT stored - removed FROM sequences WHERE kind = 'predictions'").fetchone()[0]
    mark = _mark(tx, "predictions")
    while stored > keep:
        rows = tx.sql(
            "SELECT key, first_seq, records FROM predictions WHERE key <= ? ORDER BY key LIMIT 1", (mark,)
        ).fetchall()
        if not rows or stored - rows[0][2] < keep:
            return
        _delete(tx, "predictions", rows)
        stored -= rows[0][2]
