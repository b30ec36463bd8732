"""The recorder: what is logged goes into a buffer, a background thread commits it in groups.

The writer looks at it every flush interval, or when it holds more than a quarter of its bound. At the bound
the oldest rows go, and are counted. While the database cannot be opened the buffer waits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from edge_mlops_monitor.blocks import decode_row, decode_value
from edge_mlops_monitor.capture.halves import Halves
from edge_mlops_monitor.capture.hotpath import ROW_OVERHEAD, hot_path
from edge_mlops_monitor.capture.redaction import Redaction
from edge_mlops_monitor.capture.rows import spread, to_rows
from edge_mlops_monitor.capture.sampling import Keep
from edge_mlops_monitor.capture.snapshot import MAX_ROW_BYTES, Snapshot, text_of
from edge_mlops_monitor.capture.writing import commits, write_batch
from edge_mlops_monitor.clock import Clock
from edge_mlops_monitor.errors import StoreError
from edge_mlops_monitor.moments import unix_seconds
from edge_mlops_monitor.records import Record
from edge_mlops_monitor.store import Store
from edge_mlops_monitor.worker import Worker

logger = logging.getLogger("edge_mlops_monitor")

SLICE_SECONDS = 1.0
MAX_OTHERS = 20_000  # records of other kinds that wait while the database cannot be opened


class Waiter:
    """One call of `flush` that waits; a bare lock, so that a signal handler may flush inside a flush."""

    def __init__(self) -> None:
        self.ok = False
        self._done = threading.Lock()
        self._done.acquire()

    def answer(self, ok: bool) -> None:
        """Let the caller go on."""
        self.ok = ok
        self._done.release()

    def wait(self, timeout: float) -> bool:
        """True once it was answered; to be called no more after that."""
        return self._done.acquire(timeout=max(0.0, timeout))


class Recorder:
    """Takes what is logged and brings it to the store.

    `open_store` gives the store, or raises StoreError while it cannot be opened. `max_bytes` bounds the
    buffer; `on_stored` is called in the writer's thread after each commit; `on_first_use_after_fork` in a
    forked child, by the first call that logs there.
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
        self._keep = keep
        self._max_bytes = max_bytes
        self._on_stored = on_stored
        self._on_first_use_after_fork = on_first_use_after_fork
        self._flush_interval = flush_interval
        self._time = time.time if type(self._clock) is Clock else self._clock.time
        self._hot = hot_path(
            encode=self._snapshot.encode,
            time=self._time,
            encode_slowly=self._encode_slowly,
            shorten=self._shorten,
            seconds=self.seconds,
            given=self._given_id,
            watermark=max_bytes // 4,
            on_pressure=self._on_pressure,
        )
        # What is not configured costs nothing: without sampling this is the hot path itself.
        self.log_prediction: Callable[..., str] = self._hot.log if keep is None else self._log_sampled
        self.last_error: str | None = None
        self._forked = False  # and nothing was logged in the child yet
        self._begin_session()

    def _begin_session(self) -> None:
        self._buffer, self.session = self._hot.reset()
        self._others: deque[Record] = deque()
        self._waiters: deque[Waiter] = deque()
        self._given: deque[str] = deque()  # ids that may stand in the store already
        self._given_before: set[str] = set()  # the same of the write before, whose rows may come only now
        self._in_hand: tuple[list[bytes], list[Record]] = [], []  # what is being written
        self._write_lock = threading.Lock()
        self.halves = Halves(self._clock, self._max_bytes // 4)
        self.dropped: Counter[str] = Counter()  # not yet counted in the store
        self.worker = Worker("writer", self._step, self._flush_interval, self._clock)

    # - logging -

    def _log_sampled(self, inputs: Any, outputs: Any, **details: Any) -> str:
        if details.get("error") is None and self._keep is not None and not self._keep():
            self.dropped["sampled_out"] += 1
            given = details.get("prediction_id")
            return self._hot.next_id() if given is None else text_of(given)
        return self._hot.log(inputs, outputs, **details)

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
            sides = [to_rows(inputs), to_rows(outputs)]
            total = max(map(len, sides))
            sides = [rows or [None] * total for rows in sides]
            details = [spread(value, total) for value in (prediction_ids, latency_seconds, timestamp)]
            rows = list(zip(*sides, *details, strict=True))
        except Exception:
            self.dropped["not_rows"] += 1
            return [self.log_prediction(inputs, outputs, **shared)]
        log = self.log_prediction
        return [
            log(i, o, prediction_id=id, latency_seconds=latency, timestamp=ts, **shared)
            for i, o, id, latency, ts in rows
        ]

    def log_input(self, inputs: Any) -> str:
        """The first half of a prediction; its id."""
        id = self._hot.next_id()
        if self._keep is not None and not self._keep():
            self.dropped["sampled_out"] += 1
            self.halves.skip(id)
            return id
        self.halves.begin(id, self._time(), self.encode_value(inputs))
        if self.halves.bytes > self._max_bytes // 4:
            self._wake()
        return id

    def log_output(self, input_id: Any, outputs: Any) -> str:
        """The second half of a prediction, joined with the first where that is known; its id."""
        id, now = text_of(input_id), self._time()
        half = self.halves.finish(id)
        if half is not None and not half.wanted:
            return id
        if self._forked:
            self._first_use()
        if half is None or half.stored:  # the first half may stand in the store, alone
            self._given.append(id)
        outputs = msgspec.Raw(self.encode_value(outputs))
        row: tuple[Any, ...] = (now, id, None, None, None, None, outputs, None, None, None)
        if half is not None:
            latency = max(0.0, now - half.ts)
            row = (half.ts, id, None, None, None, half.raw, outputs, latency, None, None)
        self._hot.append(self._snapshot.encode(row))
        return id

    def put(self, records: Iterable[Record]) -> None:
        """Store records of other kinds with the next group commit."""
        self._others.extend(records)
        if self._forked:
            self._first_use()
        if len(self._others) > MAX_OTHERS // 4:
            self._wake()
            self._drop_oldest_others()

    def encode_value(self, value: Any) -> bytes:
        """The snapshot of one value, of bounded size; never raises."""
        try:
            encoded = self._snapshot.encode(value)
            if len(encoded) <= MAX_ROW_BYTES or self._snapshot.raw_bytes:
                return encoded
        except Exception:
            pass
        self.dropped["simplified"] += 1
        return self._snapshot.encode_anything(value)

    def freeze(self, value: Any) -> Any:
        """A copy of `value` as plain data that nobody else holds."""
        return decode_value(self.encode_value(value))

    def freeze_rows(self, values: Any) -> list[Any]:
        """The same of a sequence, array or series, however long; empty where it is none of these."""
        try:
            rows = to_rows(values)
            return [decode_value(self.encode_value(row)) for row in rows]
        except Exception:
            return []

    def _encode_slowly(self, values: tuple[Any, ...]) -> bytes:
        """A row of which something cannot be encoded as it is: simplified, or, at the worst, a stub."""
        try:
            row = self._snapshot.encode([*values[:2], *map(self._snapshot.simplified, values[2:])])
            self.dropped["simplified"] += 1
            return row
        except Exception:
            self.dropped["unrecordable"] += 1
            return self._snapshot.encode(
                (*values[:2], None, None, None, None, None, None, "unrecordable", None)
            )

    def _shorten(self, row: bytes) -> bytes:
        if self._snapshot.raw_bytes:
            return row
        return self._encode_slowly(tuple(decode_row(row)))

    def _given_id(self, given: Any) -> str:
        id = text_of(given)
        self._given.append(id)
        if self._forked:
            self._first_use()
        return id

    def seconds(self, timestamp: Any) -> float:
        """Unix seconds of a datetime or number; now, where there is none or it cannot be read."""
        if timestamp is None:
            return self._time()
        try:
            return unix_seconds(timestamp)
        except Exception:
            self.dropped["timestamp_unreadable"] += 1
            return self._time()

    def _on_pressure(self, size: int) -> None:
        """The buffer is more than a quarter full: let the writer come now; at the bound, the oldest go."""
        self._wake()
        self._drop_oldest(size)

    def _wake(self) -> None:
        """Let the writer come now; what fails is tried every interval only."""
        if not self.worker.awake and self.last_error is None:
            self._start_worker()
            self.worker.wake()

    # - writing -

    def flush(self, timeout: float | None = None) -> bool:
        """True once all that was logged before the call is on stable storage; False if it could not be."""
        waiter = Waiter()
        self._waiters.append(waiter)
        if not self._start_worker():
            return self.write()
        self.worker.wake()
        ends = None if timeout is None else time.monotonic() + timeout
        # In slices, since another thread may stop the worker at this moment.
        while not waiter.wait(SLICE_SECONDS if ends is None else min(SLICE_SECONDS, ends - time.monotonic())):
            if ends is not None and time.monotonic() >= ends:
                return False
            if not self._start_worker():
                return self.write()
            self.worker.wake()
        return waiter.ok

    def write(self) -> bool:
        """Commit everything that is buffered, in the calling thread."""
        with self._write_lock:
            waiters = [self._waiters.popleft() for _ in range(len(self._waiters))]
            ok = False
            try:
                ok = self._write(halves_too=bool(waiters))
            finally:  # whatever went wrong, nobody waits for ever
                for waiter in waiters:
                    waiter.answer(ok)
        return ok

    def _start_worker(self) -> bool:
        try:
            self.worker.start()
        except RuntimeError:  # the interpreter is shutting down and starts no threads any more
            return False
        return True

    def _step(self, now: float) -> None:
        self.write()

    def _write(self, *, halves_too: bool) -> bool:
        rows, others = self._in_hand = [], []
        _move(self._buffer, rows)
        _move(self._others, others)
        noted: list[str] = []
        _move(self._given, noted)  # after the rows: an id is noted before its row is
        given = set(noted)
        self._hot.recount()
        halves = self.halves.due(everything=halves_too)
        counts, self.dropped = self.dropped, Counter()
        if not (rows or others or halves or counts):
            return True
        alone = [half.row(id, self._snapshot.encode) for id, half in halves]
        try:
            self._commit(rows, alone, others, counts, given | self._given_before)
        except Exception as error:  # nothing of what was logged is lost for it, whatever it is
            self.last_error = str(error)
            self._take_back(rows, others, counts)
            self._given_before |= given
            return False
        self._given_before = given
        self.halves.stored(halves)
        self.last_error = None
        self._on_stored()
        return True

    def _commit(
        self,
        rows: list[bytes],
        alone: list[bytes],
        others: list[Record],
        counts: Counter[str],
        given: set[str],
    ) -> None:
        """Write it in as few commits as the bound on disk allows; what is written is taken off the lists."""
        store = self._open_store()
        for part, records in commits([*rows, *alone], [*others], store.max_bytes):
            try:
                write_batch(store, part, records, counts, given, self._redaction)
            except StoreError:
                raise
            except Exception:  # nothing that waits behind it must be lost for that
                logger.exception("%d records cannot be written", len(part) + len(records))
                self.dropped["unwritable"] += len(part) + len(records)
            counts.clear()
            del rows[: len(part)], others[: len(records)]

    def _take_back(self, rows: list[bytes], others: list[Record], counts: Counter[str]) -> None:
        """What could not be stored waits in the buffer again, within its bound."""
        self._buffer.extendleft(reversed(rows))
        self._others.extendleft(reversed(others))
        self._in_hand = [], []
        self.dropped.update(counts)
        self._drop_oldest_others()
        self._drop_oldest(self._hot.recount())

    def _drop_oldest(self, size: int) -> None:
        """Keep to the bound of the buffer, which holds `size` bytes."""
        while size > self._max_bytes:
            try:
                row = self._buffer.popleft()
            except IndexError:
                return
            size = self._hot.spent(len(row) + ROW_OVERHEAD)
            self.dropped["memory_full"] += 1

    def _drop_oldest_others(self) -> None:
        while len(self._others) > MAX_OTHERS:
            self._others.popleft()
            self.dropped["memory_full"] += 1

    @property
    def buffered(self) -> int:
        """Predictions that are not in the store yet, with those that are being written."""
        return len(self._buffer) + len(self._in_hand[0])

    @property
    def unstored(self) -> int:
        """Records of all kinds that are not in the store yet, with those that are being written."""
        return self.buffered + len(self._others) + len(self._in_hand[1]) + self.halves.unstored

    def after_fork(self) -> None:
        """In the child: nothing of the parent's; the first call that logs starts the threads again."""
        self._begin_session()
        self._forked = True
        self._hot.on_next_id(self._first_use)

    def _first_use(self) -> None:
        if self._forked:
            self._forked = False
            self._on_first_use_after_fork()


def _move(buffer: deque[Any], to: list[Any]) -> None:
    """Move everything that is in the buffer now."""
    try:
        for _ in range(len(buffer)):
            to.append(buffer.popleft())
    except IndexError:  # a caller at the bound dropped the last of them meanwhile
        pass
