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

from edge_mlops_monitor.records import KINDS, Prediction, Record

SEQ_BITS = 40  # sequence numbers have 12 digits, and 10**12 < 2**40
SEQ_MASK = (1 << SEQ_BITS) - 1

_encode = msgspec.msgpack.Encoder(enc_hook=str).encode
_decode = msgspec.msgpack.Decoder().decode

ENVELOPE = Record.__struct_fields__
_FIELDS = {
    kind: ("ts", *(name for name in cls.__struct_fields__ if name not in ENVELOPE))
    for kind, cls in KINDS.items()
}
_GETTERS = {kind: attrgetter(*fields) for kind, fields in _FIELDS.items()}


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

    def records(self) -> list[Record]:
        """The records, oldest first, complete with the fields of the row."""
        contents = _decode(self.payload)
        if self.kind == "predictions":
            return list(self._predictions(*contents))
        rows, seqs = contents
        cls, fields = KINDS[self.kind], _FIELDS[self.kind]
        shared = self._shared()
        return [
            cls(seq=seq, **shared, **dict(zip(fields, row, strict=False)))
            for seq, row in zip(seqs or count(self.first_seq), rows, strict=False)
        ]

    def _shared(self) -> dict[str, Any]:
        return {
            "generation": self.generation,
            "boot_id": self.boot_id,
            "device_id": self.device_id,
            "clock_synced": self.synced,
        }

    def _predictions(
        self, contexts: list[list[Any]], rows: list[list[Any]], seqs: list[int] | None
    ) -> Iterable[Prediction]:
        generation, boot_id, device_id, synced = self.generation, self.boot_id, self.device_id, self.synced
        session = self.session
        for seq, row in zip(seqs or count(self.first_seq), rows, strict=False):
            id, ts, context, (inputs, outputs), latency, error = row
            model, version, source, tags = contexts[context]
            yield Prediction(
                ts=ts,
                seq=seq,
                generation=generation,
                boot_id=boot_id,
                clock_synced=synced,
                device_id=device_id,
                id=id if type(id) is str else f"{session}-{id}",
                model=model,
                model_version=version,
                source=source,
                inputs=inputs,
                outputs=outputs,
                latency_seconds=latency,
                error=error,
                tags=tags,
            )


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
    if kind == "predictions":
        return _pack_whole_predictions(records, seqs)  # type: ignore[arg-type]  # the kind says so
    times = [record.ts for record in records]
    payload = _encode((list(map(_GETTERS[kind], records)), seqs))
    return Packed(payload=payload, count=len(records), first_ts=min(times), last_ts=max(times))


def pack_predictions(
    contexts: Sequence[tuple[Any, ...]],
    rows: Sequence[tuple[Any, ...]],
    *,
    session: str | None,
    first_n: int | None,
    last_n: int | None,
    caller_ids: tuple[str, ...] = (),
    seqs: list[int] | None = None,
) -> Packed:
    """Pack rows `(id or number, ts, context, [inputs, outputs], latency, error)` as the writer holds them.

    `contexts` are `(model, model_version, source, tags)`, to which the rows point; the pair of
    inputs and outputs may be `msgspec.Raw`, so that it is not encoded a second time.
    """
    times = [row[1] for row in rows]
    return Packed(
        payload=_encode((contexts, rows, seqs)),
        count=len(rows),
        first_ts=min(times),
        last_ts=max(times),
        session=session,
        first_n=first_n,
        last_n=last_n,
        caller_ids=caller_ids,
    )


def _pack_whole_predictions(records: Sequence[Prediction], seqs: list[int] | None) -> Packed:
    contexts: dict[bytes, int] = {}
    rows = []
    for record in records:
        context = _encode((record.model, record.model_version, record.source, record.tags))
        index = contexts.setdefault(context, len(contexts))
        pair = (record.inputs, record.outputs)
        rows.append((record.id, record.ts, index, pair, record.latency_seconds, record.error))
    return pack_predictions(
        [msgspec.Raw(context) for context in contexts],  # type: ignore[misc]  # Raw stands for the tuple
        rows,
        session=None,
        first_n=None,
        last_n=None,
        caller_ids=tuple(record.id for record in records),
        seqs=seqs,
    )


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
