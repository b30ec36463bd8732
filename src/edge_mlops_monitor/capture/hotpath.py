"""The caller's share of the work: encode one row, append it, return its id.

This is one flat function with everything it touches in its closure, since that is what is fastest: no lock,
no system call, no thread woken, no second frame. `benchmarks/bench_call.py` measures it against its floor,
the bare encoding.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain, count
from typing import Any, NamedTuple

from edge_mlops_monitor.capture.snapshot import MAX_ROW_BYTES

ROW_OVERHEAD = 80  # bytes that a buffered row costs beyond its own: the bytes object and its place
_SUFFIXES = tuple(f"{number:03d}" for number in range(1000))


class HotPath(NamedTuple):
    """The functions around one buffer; only `log` is called by the host's threads."""

    log: Callable[..., str]
    next_id: Callable[[], str]  # for ids that are given out apart from `log`
    append: Callable[[bytes], None]  # for rows that were encoded apart from `log`
    spent: Callable[[int], int]  # subtract bytes that left the buffer; the bytes that remain
    recount: Callable[[], int]  # the bytes that are in the buffer
    reset: Callable[[], tuple[deque[bytes], str]]  # begin a new session with an empty buffer
    on_next_id: Callable[[Callable[[], None]], None]  # call something once, when the next id is made


def ids(session: str) -> Iterator[str]:
    """Ids `session-1000`, `session-1001`, ... at the cost of one concatenation each.

    >>> numbers = ids("3f2a9c0d11b2")
    >>> next(numbers), next(numbers)
    ('3f2a9c0d11b2-1000', '3f2a9c0d11b2-1001')
    """

    def thousand(number: int) -> Iterator[str]:
        return map(f"{session}-{number}".__add__, _SUFFIXES)

    # No generator: another thread, or a signal handler, may ask for an id while this one is being made.
    return chain.from_iterable(map(thousand, count(1)))


def hot_path(
    *,
    encode: Callable[[Any], bytes],
    time: Callable[[], float],
    encode_slowly: Callable[[tuple[Any, ...]], bytes],
    shorten: Callable[[bytes], bytes],
    seconds: Callable[[Any], float],
    given: Callable[[Any], str],
    watermark: int,
    on_pressure: Callable[[int], None],
) -> HotPath:
    """Build the functions around a fresh buffer."""
    buffer: deque[bytes] = deque()
    append = buffer.append
    next_id: Callable[[], str] = ids("").__next__
    size = 0

    def log(
        inputs: Any,
        outputs: Any,
        *,
        prediction_id: str | None = None,
        model: str | None = None,
        model_version: str | None = None,
        source: str | None = None,
        latency_seconds: float | None = None,
        timestamp: Any = None,
        tags: dict[str, Any] | None = None,
        error: str | None = None,
    ) -> str:
        nonlocal size
        id = next_id() if prediction_id is None else given(prediction_id)
        ts = time() if timestamp is None else seconds(timestamp)
        try:
            row = encode(
                (ts, id, model, model_version, source, inputs, outputs, latency_seconds, error, tags)
            )
        except Exception:
            row = encode_slowly(
                (ts, id, model, model_version, source, inputs, outputs, latency_seconds, error, tags)
            )
        length = len(row)
        if length > MAX_ROW_BYTES:
            row = shorten(row)
            length = len(row)
        append(row)
        size += length + ROW_OVERHEAD
        if size > watermark:
            on_pressure(size)
        return id

    def add(row: bytes) -> None:
        nonlocal size
        append(row)
        size += len(row) + ROW_OVERHEAD
        if size > watermark:
            on_pressure(size)

    def spent(count: int) -> int:
        nonlocal size
        size = size - count
        return size

    def recount() -> int:
        # Threads that log at the same moment may overwrite each other's sum: the buffer itself is right.
        nonlocal size
        rows = list(buffer)
        size = sum(map(len, rows)) + ROW_OVERHEAD * len(rows)
        return size

    def reset() -> tuple[deque[bytes], str]:
        nonlocal buffer, append, next_id, size
        session = os.urandom(6).hex()
        buffer, size = deque(), 0
        append, next_id = buffer.append, ids(session).__next__
        return buffer, session

    def on_next_id(callback: Callable[[], None]) -> None:
        nonlocal next_id
        plain = next_id

        def first() -> str:
            nonlocal next_id
            next_id = plain
            callback()
            return plain()

        next_id = first

    return HotPath(log, lambda: next_id(), add, spent, recount, reset, on_next_id)
