"""The hot path and its writer: a call becomes bytes in a buffer, a background thread commits them in groups.

The caller's thread encodes one row, appends it and returns: no lock, no system call, no waiting thread
woken. The writer looks at the buffer every flush interval, and is woken before only when the buffer
holds more than a quarter of its bound. When the bound itself is reached, the oldest rows go and are counted.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import count, repeat
from operator import concat
from typing import Any

from edge_mlops_monitor.capture.halves import Halves
from edge_mlops_monitor.capture.redaction import Redaction
from edge_mlops_monitor.capture.rows import to_rows
from edge_mlops_monitor.capture.sampling import Keep
from edge_mlops_monitor.capture.snapshot import MAX_ROW_BYTES, Snapshot
from edge_mlops_monitor.capture.writing import Item, write_batch
from edge_mlops_monitor.clock import Clock
from edge_mlops_monitor.errors import StoreError
from edge_mlops_monitor.records import Record
from edge_mlops_monitor.store import Store
from edge_mlops_monitor.worker import Worker

ROW_OVERHEAD = 200  # bytes that a buffered row costs beyond its own: the tuple, the id, the bytes object


class Waiter(threading.Event):
    """One call of `flush` that waits; `ok` is its answer."""

    ok = False


class Recorder:
    """Takes what is logged and brings it to the store.

    `open_store` gives the store, or raises StoreError while it cannot be opened: then the buffer waits.
    `max_bytes` bounds the buffer, `on_stored` is called in the writer's thread after each commit.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        *,
        clock: Clock | None = None,
        flush_interval: float = 5.0,
        max_bytes: int = 50 << 20,
        snapshot: Snapshot | None = None,
        redaction: Redaction | None = None,
        keep: Keep | None = None,
        on_stored: Callable[[], None] = lambda: None,
        on_first_use_after_fork: Callable[[], None] = lambda: None,
    ) -> None:
        self._open_store = open_store
        self._clock = clock or Clock()
        self._snapshot = snapshot or Snapshot()
        self._redaction = redaction
        self._max_bytes = max_bytes
        self._watermark = max_bytes // 4
        self._on_stored = on_stored
        self._on_first_use_after_fork = on_first_use_after_fork
        self.worker = Worker("writer", self._step, flush_interval, self._clock)
        self.last_error: str | None = None
        self._encode = self._snapshot.encode
        self._time = self._clock.time if type(self._clock) is not Clock else time.time
        self._begin_session()
        self._keep = keep
        if keep is not None:  # what is not configured costs nothing
            vars(self)["log_prediction"] = self._log_sampled

    def _begin_session(self) -> None:
        self.session = os.urandom(6).hex()
        self._next_id: Callable[[], Any] = map(
            concat, repeat(f"{self.session}-"), map(str, count(1))
        ).__next__
        self._buffer: deque[Item] = deque()
        self._append = self._buffer.append
        self._others: deque[Record] = deque()
        self._bytes = 0
        self._waiters: deque[Waiter] = deque()
        self._write_lock = threading.Lock()
        self.halves = Halves(self._clock)
        self.dropped: Counter[str] = Counter()  # not yet counted in the store

    # - the hot path -

    def log_prediction(
        self,
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
        """Record one prediction; its id. See `EdgeMonitor.log_prediction`."""
        id = self._next_id() if prediction_id is None else _as_id(prediction_id)
        ts = self._time() if timestamp is None else self._as_seconds(timestamp)
        try:
            row = self._encode(
                (ts, id, model, model_version, source, inputs, outputs, latency_seconds, error, tags)
            )
        except Exception:
            values = (ts, id, model, model_version, source, inputs, outputs, latency_seconds, error, tags)
            row = self._encode_slowly(values)
        size = len(row)
        if size > MAX_ROW_BYTES:
            row = self._shorten(row)
        self._append((id, ts, row, prediction_id is not None))
        self._bytes += size + ROW_OVERHEAD
        if self._bytes > self._watermark:
            self._on_pressure()
        return id

    def _log_sampled(self, inputs: Any, outputs: Any, **details: Any) -> str:
        """`log_prediction` where sampling is configured."""
        if details.get("error") is None and self._keep is not None and not self._keep():
            self.dropped["sampled_out"] += 1
            given = details.get("prediction_id")
            return self._next_id() if given is None else _as_id(given)
        return Recorder.log_prediction(self, inputs, outputs, **details)

    def log_predictions(
        self,
        inputs: Any,
        outputs: Any,
        *,
        prediction_ids: Sequence[str] | None = None,
        latency_seconds: Any = None,
        timestamp: Any = None,
        **shared: Any,
    ) -> list[str]:
        """Record many predictions; their ids. See `EdgeMonitor.log_predictions`."""
        try:
            columns = [to_rows(inputs), to_rows(outputs)]
            total = max(map(len, columns))
            if outputs is None or inputs is None:
                columns = [rows or [None] * total for rows in columns]
            each = zip(
                *columns,
                _spread(prediction_ids, total),
                _spread(latency_seconds, total),
                _spread(timestamp, total),
                strict=True,
            )
            rows = list(each)
        except Exception:
            self.dropped["unrecordable"] += 1
            return [self.log_prediction(inputs, outputs, **shared)]
        log = self.log_prediction
        return [
            log(i, o, prediction_id=id, latency_seconds=latency, timestamp=ts, **shared)
            for i, o, id, latency, ts in rows
        ]

    def log_input(self, inputs: Any) -> str:
        """The first half of a prediction; its id."""
        id = self._next_id()
        self.halves.begin(id, self._time(), self._encode_value(inputs))
        return id

    def log_output(self, input_id: Any, outputs: Any) -> str:
        """The second half of a prediction, joined with the first where that is known; its id."""
        id = _as_id(input_id)
        ts = self._time()
        half = self.halves.finish(id)
        # A half that was stored alone, or in an earlier life, is completed in the store: hence "given".
        given = half is None or half.stored
        started = ts if half is None else half.ts
        values = (
            started,
            id,
            None,
            None,
            None,
            None if half is None else half.raw,
            outputs,
            None if half is None else max(0.0, ts - half.ts),
            None,
            None,
        )
        try:
            row = self._encode(values)
        except Exception:
            row = self._encode_slowly(values)
        self._append((id, started, row, given))
        self._bytes += len(row) + ROW_OVERHEAD
        if self._bytes > self._watermark:
            self._on_pressure()
        return id

    def put(self, records: Iterable[Record]) -> None:
        """Store records of other kinds with the next group commit."""
        self._others.extend(records)

    def freeze(self, value: Any) -> Any:
        """A copy of `value` as plain data, that nobody else holds."""
        import msgspec

        return msgspec.msgpack.decode(self._encode_value(value))

    def _encode_value(self, value: Any) -> bytes:
        try:
            return self._encode(value)
        except Exception:
            self.dropped["simplified"] += 1
            return self._snapshot.encode_anything(value)

    def _encode_slowly(self, values: tuple[Any, ...]) -> bytes:
        """A row of which something cannot be encoded as it is: simplified, or, at the worst, a stub."""
        try:
            row = self._snapshot.encode_anything(values)
            self.dropped["simplified"] += 1
            return row
        except Exception:
            self.dropped["unrecordable"] += 1
            stub = (values[0], values[1], None, None, None, None, None, None, "unrecordable", None)
            return self._encode(stub)

    def _shorten(self, row: bytes) -> bytes:
        import msgspec

        if self._snapshot.raw_bytes:
            return row
        self.dropped["simplified"] += 1
        return self._snapshot.encode_anything(msgspec.msgpack.decode(row))

    def _as_seconds(self, timestamp: Any) -> float:
        try:
            seconds = float(timestamp.timestamp() if hasattr(timestamp, "timestamp") else timestamp)
            return seconds if seconds - seconds == 0.0 else self._time()
        except Exception:
            self.dropped["timestamp_unreadable"] += 1
            return self._time()

    def _on_pressure(self) -> None:
        """The buffer is more than a quarter full: let the writer come now; at the bound, the oldest go."""
        if not self.worker.awake:
            self.worker.start()
            self.worker.wake()
        while self._bytes > self._max_bytes:
            try:
                item = self._buffer.popleft()
            except IndexError:
                self._bytes = 0
                return
            self._bytes -= len(item[2]) + ROW_OVERHEAD
            self.dropped["memory_full"] += 1

    # - the writer -

    def flush(self, timeout: float | None = None) -> bool:
        """True once all that was logged before the call is on stable storage; False if it could not be."""
        waiter = Waiter()
        self._waiters.append(waiter)
        try:
            self.worker.start()
        except RuntimeError:  # the interpreter is shutting down and starts no threads any more
            return self.write()
        self.worker.wake()
        return waiter.wait(timeout) and waiter.ok

    def write(self, *, last: bool = False) -> bool:
        """Commit everything that is buffered, in the calling thread; `last`: unmatched halves too."""
        with self._write_lock:
            waiters = [self._waiters.popleft() for _ in range(len(self._waiters))]
            ok = self._write(last or bool(waiters))
        for waiter in waiters:
            waiter.ok = ok
            waiter.set()
        return ok

    def _step(self, now: float) -> float | None:
        self.write()
        return None

    def _write(self, halves_too: bool) -> bool:
        items = [self._buffer.popleft() for _ in range(len(self._buffer))]
        size = sum(len(item[2]) for item in items) + ROW_OVERHEAD * len(items)
        self._bytes = max(0, self._bytes - size) if self._buffer else 0
        others = [self._others.popleft() for _ in range(len(self._others))]
        halves = self.halves.due(everything=halves_too)
        counts, self.dropped = self.dropped, Counter()
        if not (items or others or halves or counts):
            return True
        try:
            store = self._open_store()
            alone = [(id, half.ts, half.row(id, self._encode), False) for id, half in halves]
            write_batch(store, items + alone, others, counts, self._redaction, self._encode)
        except Exception as error:
            self._take_back(items, others, size, counts)
            self.last_error = f"{type(error).__name__}: {error}"
            if not isinstance(error, StoreError):
                raise
            return False
        self.halves.stored(halves)
        self.last_error = None
        self._on_stored()
        return True

    def _take_back(self, items: list[Item], others: list[Record], size: int, counts: Counter[str]) -> None:
        self._buffer.extendleft(reversed(items))
        self._others.extendleft(reversed(others))
        self.dropped.update(counts)
        self._bytes += size
        while len(self._others) > 10_000:
            self._others.popleft()
            self.dropped["memory_full"] += 1
        if self._bytes > self._max_bytes:
            self._on_pressure()

    @property
    def buffered(self) -> int:
        """Predictions that are not in the store yet."""
        return len(self._buffer)

    def after_fork(self) -> None:
        """In the child: nothing of the parent's; the first call starts the threads again."""
        self._begin_session()
        self.worker = Worker("writer", self._step, self.worker.interval, self._clock)
        plain = self._next_id

        def first() -> str:
            self._next_id = plain
            self._on_first_use_after_fork()
            return plain()

        self._next_id = first


def _as_id(given: Any) -> str:
    if type(given) is str and given.isascii():
        return given[:256]
    try:
        return str(given).encode("utf-8", "replace").decode("utf-8")[:256]
    except Exception:
        return f"<{type(given).__name__}>"


def _spread(value: Any, total: int) -> Iterable[Any]:
    """One value for each row: the sequence itself, or the same scalar each time."""
    if value is None or isinstance(value, (str, int, float)) or not hasattr(value, "__len__"):
        return [value] * total
    return to_rows(value)
