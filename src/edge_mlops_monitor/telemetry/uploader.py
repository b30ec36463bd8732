"""Seals, sends, settles and backs off: the one place that knows how delivery works (see docs/delivery.md).

`step` does one small thing (seals one object, or sends one to each sink that may be asked) and says when it
wants to be called next, so that the worker around it can stop between two objects.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from edge_mlops_monitor import leases, outbox
from edge_mlops_monitor.clock import Clock
from edge_mlops_monitor.errors import StoreFullError
from edge_mlops_monitor.outbox import SealedObject
from edge_mlops_monitor.telemetry.renumbering import renumber
from edge_mlops_monitor.telemetry.route import Route
from edge_mlops_monitor.telemetry.sealing import OTHERS, URGENT, Sealer
from edge_mlops_monitor.telemetry.sinks.sink import Accepted, Answer, Conflict, Never, Sink, TryAgain
from edge_mlops_monitor.turns import Turns

if TYPE_CHECKING:
    from edge_mlops_monitor.config.sections import Telemetry
    from edge_mlops_monitor.store import Store
    from edge_mlops_monitor.transaction import Transaction

Progress = Callable[[int], object]

LEASE_SECONDS = 10.0  # how often the lease is renewed
IDLE_SECONDS = 30.0  # how often a process without the lease asks for it
SENDING_SECONDS = 30.0  # for which a round goes on after sealing, if as much was not sent as was sealed
LONGEST_PAUSE = 120.0  # in `drain`: what asks for more patience than that is left to a later upload


class SinkState(msgspec.Struct, kw_only=True):
    """What is known of one sink; kept in the store, so that every process can show it. Unix seconds."""

    last_upload: float | None = None
    last_error: str | None = None
    last_error_at: float | None = None
    refused: bool = False
    objects: int = 0
    records: int = 0
    bytes: int = 0


class Uploader:
    """Brings what `store` holds to `sinks` (name -> what makes the sink).

    >>> import os, tempfile
    >>> from edge_mlops_monitor.config.sections import Telemetry
    >>> from edge_mlops_monitor.records import Actual
    >>> from edge_mlops_monitor.store import Store
    >>> from edge_mlops_monitor.telemetry.sinks.memory import MemorySink
    >>> store = Store(os.path.join(tempfile.mkdtemp(), "m.db"), device_id="pi-7")
    >>> with store.transaction() as tx:
    ...     numbers = tx.append("actuals", [Actual(prediction_id="p-1", actual=3)])
    >>> sink = MemorySink()
    >>> Uploader(store, {"memory": lambda: sink}, Telemetry()).drain()["pending"]
    0
    >>> [record["prediction_id"] for record in sink.records("actuals")]
    ['p-1']
    """

    def __init__(
        self,
        store: Store,
        sinks: Mapping[str, Callable[[], Sink]],
        settings: Telemetry,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.store = store
        self.settings = settings
        self.clock = clock or store.clock
        self.rng = rng or random.Random()
        self.sealer = Sealer(store, tuple(sinks), settings)
        self.routes = {name: Route(name, make, settings, self.rng) for name, make in sinks.items()}
        self._to_seal: list[str] = []
        self._last_sealed = 0.0
        self._owed = 0  # objects sealed in the round for which none has been sent yet
        self._next_round: float | None = None
        self._lease_checked: float | None = None
        self._holds_lease = False
        self._stopping = threading.Event()
        self._lock = Turns()
        self._pid = os.getpid()

    def step(self, now: float) -> float:
        """Do one thing that is due at the monotonic time `now`; seconds until the next call is wanted."""
        self._after_fork()
        if not self.routes or self._stopping.is_set():
            return self.settings.upload_interval_seconds
        if not self._lease(now):
            return min(IDLE_SECONDS, self.settings.upload_interval_seconds)
        with self._lock:
            if self._next_round is None:
                # A fleet that comes back all at once does not upload in the same second.
                self._next_round = now + self.rng.uniform(0.0, self.settings.upload_interval_seconds)
            if now >= self._next_round and self._round_is_over(now):
                self._begin_round(now)
            if self._advance(now):
                return 0.0
            self._owed = 0
            return self._wait(now)

    def drain(self, timeout: float | None = None, progress: Progress | None = None) -> dict[str, Any]:
        """Seal and send everything now, in at most `timeout` seconds and one round of attempts.

        What another process seals from then on is left to it. `progress` is called with the number of objects
        that wait. Gives back `sealed` and `delivered` objects, `records`, what is still `pending`, the
        `dead_letters`, and `errors` by sink.
        """
        self._after_fork()
        began = self.clock.monotonic()
        before = self.states()
        with self._lock:
            sealed = self._seal_all(began, timeout, progress)
            newest = outbox.newest(self.store)
            for route in self.routes.values():
                route.begin_round(began)
                route.probe(began)
            self._send_all(newest, began, timeout, progress)
        return self._summary(before, sealed, newest)

    def seal(self, kinds: Iterable[str] = (*URGENT, *OTHERS), max_records: int = 100, group: str = "") -> str:
        """Seal up to `max_records` of each kind now, for the next round; the name of the group they form."""
        return self.sealer.seal(kinds, max_records, group)

    def stop(self) -> None:
        """Send nothing more after the object on its way; never waits."""
        self._stopping.set()

    def resume(self) -> None:
        """Take up work again after `stop`; the first round is spread over the interval anew."""
        self._stopping.clear()
        self._rest()

    def close(self) -> None:
        """Stop, and let go of the sinks and the lease."""
        self.stop()
        self.let_go()

    def let_go(self) -> None:
        """Let go of the sinks and the lease; the next step takes them again."""
        for route in self.routes.values():
            route.close()
        if self._holds_lease and self._pid == os.getpid():
            self._holds_lease = False
            leases.release(self.store, "upload")

    def states(self) -> dict[str, SinkState]:
        """What is known of each sink, also where another process uploads."""
        return {name: _state(self.store.get(f"upload/{name}")) for name in self.routes}

    def status(self) -> dict[str, Any]:
        """`pending` objects, `last_upload`, `last_error`, and the same for each of the `sinks`."""
        states = self.states()
        sinks = {name: self._sink_status(name, state) for name, state in states.items()}
        uploads = [state.last_upload for state in states.values() if state.last_upload is not None]
        failing = [(state.last_error_at or 0.0, name) for name, state in states.items() if state.last_error]
        error = None
        if failing:
            name = max(failing)[1]
            error = f"{name}: {states[name].last_error}"
        return {
            "pending": outbox.pending_count(self.store),
            "last_upload": max(uploads, default=None),
            "last_error": error,
            "sinks": sinks,
        }

    def _sink_status(self, name: str, state: SinkState) -> dict[str, Any]:
        return {
            **msgspec.structs.asdict(state),
            "pending": outbox.pending_count(self.store, name),
            "dead_letters": len(outbox.dead_letters(self.store, name)),
        }

    def _round_is_over(self, now: float) -> bool:
        """Where a round takes longer than the interval, what comes last in it must have its turn as well."""
        if self._to_seal:
            return False
        return self._owed <= 0 or not 0 <= now - self._last_sealed < SENDING_SECONDS

    def _begin_round(self, now: float) -> None:
        interval = self.settings.upload_interval_seconds
        assert self._next_round is not None
        missed = (now - self._next_round) // interval  # while the machine slept, or a long upload ran
        self._next_round += (missed + 1) * interval
        self._to_seal = [*URGENT, *OTHERS]
        self._owed = 0
        for route in self.routes.values():
            route.begin_round(now)

    def _advance(self, now: float) -> bool:
        """Seal one object, or send one to each sink that may be asked; whether there was any to do."""
        if self._to_seal and self._to_seal[0] in URGENT:
            return self._seal_next()
        if self._send(now, urgent_only=True):
            return True
        return self._seal_next() if self._to_seal else self._send(now)

    def _seal_next(self) -> bool:
        try:
            made, complete = self._seal_one(self._to_seal[0])
            self._owed += made
            self._last_sealed = self.clock.monotonic()
            if complete:
                self._to_seal.pop(0)
        except StoreFullError:
            self._to_seal = []  # nothing more fits: sending what is sealed makes room
        return True

    def _seal_one(self, kind: str) -> tuple[bool, bool]:
        """Seal one object of a kind: whether there was anything for it, and whether nothing is left now."""
        batch = self.sealer.seal_one(kind)
        return batch is not None, batch is None or batch.complete

    def _send(self, now: float, *, urgent_only: bool = False) -> bool:
        sent = False
        for route in self.routes.values():
            if self._stopping.is_set():
                return False
            if route.ready(now):
                item = route.next_object(self.store, now, urgent_only=urgent_only)
                if item is not None:
                    self._send_one(route, item)
                    sent = True
        return sent

    def _send_one(self, route: Route, item: SealedObject) -> None:
        body = outbox.body(self.store, item.id)
        if body is None:
            route.gone()
            return
        self._owed -= 1
        self._settle(route, item, route.put(item, body))

    def _settle(self, route: Route, item: SealedObject, answer: Answer) -> None:
        now = self.clock.monotonic()
        if isinstance(answer, TryAgain):
            self._note_failure(route, answer)
            route.failed(item, answer, now)
            return
        with self.store.transaction() as tx:
            if isinstance(answer, Conflict):
                renumber(tx, item, answer.reason, self.routes)
            elif isinstance(answer, Never):
                self._set_aside(tx, route, item, answer.reason)
            else:
                self._note_success(tx, route, item, answer)
                outbox.settle(tx, item.id, route.name)
        route.succeeded(item, now)

    def _set_aside(self, tx: Transaction, route: Route, item: SealedObject, reason: str) -> None:
        outbox.dead_letter(tx, item.id, route.name, reason)
        tx.event(
            "dead_letter",
            "warning",
            f"the sink '{route.name}' will never take {item.records} {item.kind} records: {reason}",
            sink=route.name,
            key=item.key,
            reason=reason,
        )
        self._note_error(tx, route, reason, refused=False)

    def _note_success(self, tx: Transaction, route: Route, item: SealedObject, answer: Accepted) -> None:
        name = f"upload/{route.name}"
        state = _state(tx.get(name))
        if state.refused:
            tx.event(
                "upload_resumed", "info", f"the sink '{route.name}' takes objects again", sink=route.name
            )
        state.last_upload = self.clock.time()
        state.last_error = state.last_error_at = None
        state.refused = False
        state.objects += 1
        state.records += item.records
        state.bytes += 0 if answer.existed else item.size
        tx.put(name, msgspec.json.encode(state))

    def _note_failure(self, route: Route, answer: TryAgain) -> None:
        """Remember why, without writing the same to flash at each attempt."""
        state = _state(self.store.get(f"upload/{route.name}"))
        if state.last_error == answer.reason and state.refused == answer.refused:
            return
        with self.store.transaction() as tx:
            if answer.refused and not state.refused:
                tx.event(
                    "upload_refused",
                    "warning",
                    f"the sink '{route.name}' refuses, and data is kept: {answer.reason}",
                    sink=route.name,
                    reason=answer.reason,
                )
            self._note_error(tx, route, answer.reason, answer.refused)

    def _note_error(self, tx: Transaction, route: Route, reason: str, refused: bool) -> None:
        name = f"upload/{route.name}"
        state = _state(tx.get(name))
        state.last_error, state.last_error_at, state.refused = reason, self.clock.time(), refused
        tx.put(name, msgspec.json.encode(state))

    def _wait(self, now: float) -> float:
        assert self._next_round is not None
        waits = [self._next_round - now]
        for route in self.routes.values():
            wait = route.wait(now)
            if wait is not None:
                waits.append(wait)
        return max(0.0, min(waits))

    def _lease(self, now: float) -> bool:
        checked = self._lease_checked
        if checked is None or not self._holds_lease or not 0 <= now - checked < LEASE_SECONDS:
            self._holds_lease = leases.acquire(self.store, "upload")
            self._lease_checked = now
        return self._holds_lease

    def _after_fork(self) -> None:
        """In a child: nothing of the parent's is held, neither lock nor lease nor place in a round."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._lock, self._holds_lease = Turns(), False
            self._rest()

    def _rest(self) -> None:
        """Send nothing before another first round."""
        self._next_round = self._lease_checked = None
        for route in self.routes.values():
            route.round_over = True

    def _seal_all(self, began: float, timeout: float | None, progress: Progress | None) -> int:
        sealed = 0
        for kind in (*URGENT, *OTHERS):
            complete = False
            while not complete and self._in_time(began, timeout):
                made, complete = self._seal_one(kind)
                sealed += made
                if progress is not None:
                    progress(outbox.pending_count(self.store))
        return sealed

    def _send_all(self, newest: int, began: float, timeout: float | None, progress: Progress | None) -> None:
        while self._in_time(began, timeout) and outbox.waits(self.store, newest):
            now = self.clock.monotonic()
            if self._send(now):
                if progress is not None:
                    progress(outbox.pending_count(self.store))
                continue
            waits = [route.wait(now) for route in self.routes.values() if not route.refused]
            left = [wait for wait in waits if wait is not None and wait <= LONGEST_PAUSE]
            if not left:
                return
            if timeout is not None:
                left.append(max(0.0, began + timeout - now))
            self._stopping.wait(min(left))

    def _in_time(self, began: float, timeout: float | None) -> bool:
        if self._stopping.is_set():
            return False
        return timeout is None or self.clock.monotonic() - began < timeout

    def _summary(self, before: dict[str, SinkState], sealed: int, newest: int) -> dict[str, Any]:
        after = self.states()
        return {
            "sealed": sealed,
            "delivered": sum(after[name].objects - before[name].objects for name in after),
            "records": sum(after[name].records - before[name].records for name in after),
            "pending": outbox.pending_count(self.store, up_to=newest),
            "dead_letters": len(outbox.dead_letters(self.store)),
            "errors": {name: state.last_error for name, state in after.items() if state.last_error},
        }


def _state(stored: bytes | None) -> SinkState:
    if stored is None:
        return SinkState()
    try:
        return msgspec.json.decode(stored, type=SinkState)
    except msgspec.DecodeError:  # of another version of the package
        return SinkState()
