"""One group commit: buffered rows become blocks, in one transaction with everything else that waits."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from struct import unpack_from

import msgspec

from edge_mlops_monitor import blocks
from edge_mlops_monitor.blocks import FIELDS, Packed, decode_row, split_id
from edge_mlops_monitor.capture.redaction import Redaction
from edge_mlops_monitor.errors import StoreError, StoreFullError
from edge_mlops_monitor.records import Actual, Record
from edge_mlops_monitor.retention import free_expendable, journal_bytes
from edge_mlops_monitor.store import Store
from edge_mlops_monitor.transaction import Transaction

ROWS_PER_BLOCK = 250  # so that whoever decodes a block holds the interpreter lock for a millisecond
BLOCK_BYTES = 1 << 20
OTHERS_PER_COMMIT = 2000
LOSSES = {"memory_full", "unrecordable", "too_large", "unwritable"}  # others: records kept, or not wanted

_encode = msgspec.msgpack.Encoder().encode
INPUTS, OUTPUTS, ERROR, TAGS = (
    FIELDS["predictions"].index(name) for name in ("inputs", "outputs", "error", "tags")
)
TIME_AT = 2  # a row begins 0x9a 0xcb, eight bytes of time, then the id


def commits(
    rows: Sequence[bytes], others: Sequence[Record], max_bytes: int
) -> Iterator[tuple[list[bytes], list[Record]]]:
    """What is to be written as parts, each small enough for one commit under the bound `max_bytes`."""
    most = journal_bytes(max_bytes) // 2
    parts = list(_parts(rows, len(rows), most)) or [[]]
    yield parts[0], list(others[:OTHERS_PER_COMMIT])
    for part in parts[1:]:
        yield part, []
    for start in range(OTHERS_PER_COMMIT, len(others), OTHERS_PER_COMMIT):
        yield [], list(others[start : start + OTHERS_PER_COMMIT])


def _parts(rows: Sequence[bytes], most_rows: int, most_bytes: int) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    size = 0
    for row in rows:
        if part and (len(part) >= most_rows or size + len(row) > most_bytes):
            yield part
            part, size = [], 0
        part.append(row)
        size += len(row)
    if part:
        yield part


def write_batch(
    store: Store,
    rows: list[bytes],
    others: Sequence[Record],
    counts: Counter[str],
    given: set[str],
    redaction: Redaction | None,
) -> None:
    """Commit all of it, or raise StoreError with nothing changed.

    `given` are ids that may stand in the store already. A full disk is met by giving up what nobody waits
    for.
    """
    if redaction is not None:
        rows = [redact_row(row, redaction) for row in rows]
        others = [redact_label(record, redaction) for record in others]
    largest = store.max_bytes // 4
    if rows and max(map(len, rows)) > largest:
        counts = counts + Counter(too_large=sum(len(row) > largest for row in rows))
        rows = [row if len(row) <= largest else _stub(row) for row in rows]
    try:
        _commit(store, rows, others, counts, given)
    except StoreFullError:
        with store.transaction() as tx:
            free_expendable(tx, sum(map(len, rows)) + 4096)
        _commit(store, rows, others, counts, given)


def _commit(
    store: Store, rows: list[bytes], others: Sequence[Record], counts: Counter[str], given: set[str]
) -> None:
    counts = Counter(counts)
    with store.transaction() as tx:
        if given:
            rows = _superseding(tx, rows, given, counts)
        for part in _parts(rows, ROWS_PER_BLOCK, min(BLOCK_BYTES, store.max_bytes // 16)):
            _, last_seq = tx.append_block("predictions", _packed(part))
            if given:
                _remember_ids(tx, given.intersection(map(row_id, part)), last_seq)
        by_kind: dict[str, list[Record]] = defaultdict(list)
        for record in others:
            by_kind[record.kind].append(record)
        for kind, records in by_kind.items():
            for start in range(0, len(records), ROWS_PER_BLOCK):
                _append(tx, kind, records[start : start + ROWS_PER_BLOCK])
        _count(tx, counts)


def _append(tx: Transaction, kind: str, records: list[Record]) -> None:
    packed = blocks.pack(kind, records)
    if len(packed.payload) > BLOCK_BYTES and len(records) > 1:
        _append(tx, kind, records[: len(records) // 2])
        _append(tx, kind, records[len(records) // 2 :])
    else:
        tx.append_block(kind, packed)


def _stub(row: bytes) -> bytes:
    """The row less what makes it large."""
    values = decode_row(row)
    values[INPUTS] = values[OUTPUTS] = values[TAGS] = None
    values[ERROR] = "unrecordable"
    return _encode(values)


def _count(tx: Transaction, counts: Counter[str]) -> None:
    for reason, number in counts.items():
        tx.lost(reason, number)
    losses = {reason: number for reason, number in counts.items() if reason in LOSSES}
    if losses:
        total = sum(losses.values())
        reasons = ", ".join(f"{number} {reason}" for reason, number in losses.items())
        tx.event("loss", "warning", f"{total} records never reached the store ({reasons})", **losses)


def row_id(row: bytes) -> str:
    """The id of an encoded row.

    >>> row_id(_encode((1.5, "3f2a9c0d11b2-1000", *[None] * 8)))
    '3f2a9c0d11b2-1000'
    """
    head = row[TIME_AT + 8]
    if head & 0xE0 == 0xA0:  # fixstr: what the hot path's own ids are
        return row[TIME_AT + 9 : TIME_AT + 9 + (head & 0x1F)].decode()
    return str(decode_row(row)[1])


def _packed(rows: Sequence[bytes]) -> Packed:
    times = [unpack_from(">d", row, TIME_AT)[0] for row in rows]
    own = [pair for pair in map(split_id, map(row_id, rows)) if pair is not None]
    session = own[0][0] if own else None
    numbers = [number for of, number in own if of == session]
    return Packed(
        payload=blocks.join(rows),
        count=len(rows),
        first_ts=min(times),
        last_ts=max(times),
        session=session,
        first_n=min(numbers, default=None),
        last_n=max(numbers, default=None),
    )


def _remember_ids(tx: Transaction, ids: set[str], last_seq: int) -> None:
    key = tx.generation_number << blocks.SEQ_BITS | last_seq
    for id in ids:
        tx.sql("INSERT OR REPLACE INTO caller_ids VALUES (?, ?)", (id, key))


def _superseding(tx: Transaction, rows: list[bytes], given: set[str], counts: Counter[str]) -> list[bytes]:
    """Where a given id stands already, in this batch or in the store, the later record wins."""
    kept: list[bytes | None] = []
    place: dict[str, int] = {}
    for row in rows:
        id = row_id(row)
        if id in given:
            earlier = kept[place[id]] if id in place else _taken_from_store(tx, id)
            if earlier is not None:
                row, joined = _joined(earlier, row)
                counts["duplicate_id"] += not joined
            if id in place:
                kept[place[id]] = None
        place[id] = len(kept)
        kept.append(row)
    return [row for row in kept if row is not None]


def _taken_from_store(tx: Transaction, id: str) -> bytes | None:
    """The row that stands in the store under this id, removed from there."""
    block = tx.find_block(id)
    if block is None:
        return None
    matches = [getattr(record, "id", None) == id for record in block.records()]
    if True not in matches:
        return None
    row = block.rows()[len(matches) - 1 - matches[::-1].index(True)]
    tx.rewrite(block, matches, "superseded")
    return _encode(row)


def _joined(earlier: bytes, later: bytes) -> tuple[bytes, bool]:
    """The later record; if the two are halves of one prediction, both together (and True)."""
    old, new = decode_row(earlier), decode_row(later)
    if new[INPUTS] is None and new[ERROR] is None:  # an output that came apart from its input
        first = old[OUTPUTS] is None and old[ERROR] is None
        whole = [old[0], *old[1:OUTPUTS], new[OUTPUTS], max(0.0, new[0] - old[0]), *old[ERROR:]]
        return _encode(whole), first
    completed = old[OUTPUTS] is None and old[ERROR] is None and old[INPUTS] == new[INPUTS]
    return later, completed


def redact_row(row: bytes, redaction: Redaction) -> bytes:
    """A row with the redaction applied to its inputs, outputs and tags."""
    values = decode_row(row)
    try:
        for index, name in ((INPUTS, "inputs"), (OUTPUTS, "outputs"), (TAGS, "tags")):
            values[index] = redaction.apply(name, values[index])
        return _encode(values)
    except StoreError:  # the key of the hash is in the store
        raise
    except Exception:
        return _stub(row)


def redact_label(record: Record, redaction: Redaction) -> Record:
    """A label with the redaction applied under the name `actual`; any other record as it is."""
    if not isinstance(record, Actual):
        return record
    return msgspec.structs.replace(record, actual=redaction.apply("actual", record.actual))
