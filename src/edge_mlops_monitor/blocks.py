"""A block: many records of one kind packed into the bytes of one row.

Packing is MessagePack. What all records of a block share (generation, boot, device) stands once, in
the row, and is put back when the records are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from operator import attrgetter
from typing import Any

import msgspec

from edge_mlops_monitor.records import KINDS, Record

SEQ_BITS = 40  # sequence numbers have 12 digits, and 10**12 < 2**40
SEQ_MASK = (1 << SEQ_BITS) - 1

_encode = msgspec.msgpack.Encoder(enc_hook=str).encode
_decode = msgspec.msgpack.Decoder(list[list[Any]]).decode
_split = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
NIL = 0xC0  # MessagePack

ENVELOPE = Record.__struct_fields__
# What a row holds, in order: of predictions the id first, since it is what a block is searched for.
FIELDS = {
    kind: ("ts", *(name for name in cls.__struct_fields__ if name not in ENVELOPE))
    for kind, cls in KINDS.items()
}
_GETTERS = {kind: attrgetter(*fields) for kind, fields in FIELDS.items()}


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a kind's table; `key` is its place in the order of all blocks of the kind."""

    kind: str
    key: int
    generation: str
    boot_id: str
    device_id: str
    first_seq: int
    count: int
    session: str | None
    first_ts: float
    last_ts: float
    synced: bool | None
    payload: bytes

    @property
    def last_seq(self) -> int:
        """The sequence number of the last record."""
        return self.key & SEQ_MASK

    def rows(self) -> list[list[Any]]:
        """The records as they are packed: values in the order of `FIELDS`, oldest first."""
        return _decoded(split_payload(self.payload)[1])

    def records(self) -> list[Record]:
        """The records, oldest first, complete with the fields of the row."""
        seqs, rows = split_payload(self.payload)
        numbers = msgspec.msgpack.decode(seqs) or count(self.first_seq)
        cls, last = KINDS[self.kind], len(FIELDS[self.kind])
        shared = self.generation, self.boot_id, self.synced, self.device_id
        # By place, in half the time. A row of an older version is shorter, one of a newer version longer.
        return [
            cls(row[0], seq, *shared, *row[1:last]) for seq, row in zip(numbers, _decoded(rows), strict=False)
        ]


class Packed(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes of a block that has no sequence numbers yet, and what its row says of it."""

    payload: bytes
    count: int
    first_ts: float
    last_ts: float
    session: str | None = None
    first_n: int | None = None
    last_n: int | None = None
    caller_ids: tuple[str, ...] = ()


def pack(kind: str, records: Sequence[Record], seqs: list[int] | None = None) -> Packed:
    """Pack records of any kind; `seqs` only where their numbers are not contiguous.

    >>> from edge_mlops_monitor.records import Actual
    >>> pack("actuals", [Actual(ts=5.0, prediction_id="a", actual=1)]).count
    1
    """
    times = [record.ts for record in records]
    rows = [_encode(row) for row in map(_GETTERS[kind], records)]
    return Packed(payload=join(rows, seqs), count=len(rows), first_ts=min(times), last_ts=max(times))


def join(rows: Sequence[bytes], seqs: list[int] | None = None) -> bytes:
    """The payload of rows that are encoded already: their numbers (nil: contiguous), then their array."""
    return b"".join((_encode(seqs), b"\xdd", len(rows).to_bytes(4, "big"), *rows))


def split_payload(payload: bytes) -> tuple[bytes, bytes]:
    """The numbers and the array of rows, both still encoded."""
    if payload[0] == NIL:
        return payload[:1], payload[1:]
    numbers = msgspec.msgpack.Decoder(tuple[msgspec.Raw, msgspec.Raw]).decode(b"\x92" + payload)
    return bytes(numbers[0]), bytes(numbers[1])


def _decoded(rows: bytes) -> list[list[Any]]:
    try:
        return _decode(rows)
    except (msgspec.DecodeError, RecursionError):
        return [decode_row(row) for row in _split(rows)]


def decode_row(row: bytes | msgspec.Raw) -> list[Any]:
    """The values of an encoded row.

    Not everything that can be encoded can be decoded (a frozen dataclass as a name in a dict; lists nested
    as deeply as the encoder's stack allowed): such a value becomes a stub, for the sake of those beside it.

    >>> decode_row(msgspec.msgpack.encode([1, {(1, 2): 3}])), decode_row(bytes([0x92, 1, 0x81, 0x80, 3]))
    ([1, {(1, 2): 3}], [1, '<unreadable>'])
    """
    return [decode_value(value) for value in _split(row)]


def decode_value(value: bytes | msgspec.Raw) -> Any:
    """One encoded value, or its stub."""
    try:
        return msgspec.msgpack.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return "<unreadable>"


def split_id(prediction_id: str) -> tuple[str, int] | None:
    """Session and number of an id that the recorder made; None for any other.

    >>> split_id("3f2a9c0d11b2-17")
    ('3f2a9c0d11b2', 17)
    >>> split_id("order-5") is None
    True
    """
    session, _, number = prediction_id.rpartition("-")
    if len(session) == 12 and number.isdigit() and number.isascii() and len(number) <= 18:
        return session, int(number)
    return None


def without(block: Block, unwanted: Iterable[bool]) -> tuple[Packed | None, list[int]]:
    """The block less the records marked in `unwanted`, and the sequence numbers that went."""
    kept, seqs, gone = [], [], []
    for record, drop in zip(block.records(), unwanted, strict=True):
        if drop:
            gone.append(record.seq)
        else:
            kept.append(record)
            seqs.append(record.seq)
    return (pack(block.kind, kept, seqs) if kept else None), gone


def ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending numbers as closed ranges.

    >>> ranges([1, 2, 3, 7])
    [(1, 3), (7, 7)]
    """
    out: list[tuple[int, int]] = []
    for number in numbers:
        if out and out[-1][1] == number - 1:
            out[-1] = (out[-1][0], number)
        else:
            out.append((number, number))
    return out
