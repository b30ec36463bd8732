"""The way to one sink: when it may be asked, which object is next, and what its answers mean.

Two things keep a route from getting stuck. A failure is followed by a growing, random wait; and where one
object fails again and again, another gets the last attempt of the round: if that one is taken, the link is
fine, and the first object waits apart without holding up the rest.
"""

from __future__ import annotations

import os
import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from edge_mlops_monitor import outbox
from edge_mlops_monitor.outbox import SealedObject
from edge_mlops_monitor.telemetry.sealing import OTHERS, URGENT
from edge_mlops_monitor.telemetry.sinks.sink import Answer, Sink, TryAgain

if TYPE_CHECKING:
    from edge_mlops_monitor.config.sections import Telemetry
    from edge_mlops_monitor.store import Store

PAGE = 16  # objects listed at a time
LONGEST_DELAY = 3600.0  # also of what a server asks for: it may lie, and its clock may be off
SHORTEST_REFUSAL = 60.0
MAX_APART = 64  # troubled objects remembered; a forgotten one is merely tried again

URGENT_FIRST, NEWEST, OLDEST = range(3)


class Route:
    """The state of the way to one sink; times are monotonic seconds."""

    def __init__(
        self, name: str, factory: Callable[[], Sink], settings: Telemetry, rng: random.Random
    ) -> None:
        self.name = name
        self.settings = settings
        self.rng = rng
        self.failures = 0  # in this round, since the last success
        self.blocked_until = 0.0
        self.round_over = True  # until the first round begins
        self.refused = False
        self._factory = factory
        self._sink: Sink | None = None
        self._pid = 0
        self._refusals = 0
        self._phase = URGENT_FIRST
        self._listed: deque[SealedObject] = deque()
        self._suspect: int | None = None
        self._apart: dict[
            int, tuple[int, float]
        ] = {}  # id -> how often it failed while others went, until when

    def begin_round(self, now: float) -> None:
        """A new round: attempts are counted from zero and urgent objects are looked for again."""
        self.failures = 0
        self.round_over = False
        if not self.refused:
            self.blocked_until = now
        self._phase = URGENT_FIRST
        self._listed.clear()

    def probe(self, now: float) -> None:
        """Let one attempt through, however long the wait was to be."""
        self.blocked_until = now
        self._apart.clear()

    def ready(self, now: float) -> bool:
        """Whether the sink may be asked now."""
        return not self.round_over and now >= self.blocked_until

    def next_object(self, store: Store, now: float, *, urgent_only: bool = False) -> SealedObject | None:
        """What to send next: events and drift results, the newest of each other kind, then the oldest."""
        while self._phase == URGENT_FIRST or not urgent_only:
            while self._listed:
                if self._may_go(self._listed[0], now):
                    return self._listed[0]
                self._listed.popleft()
            self._listed.extend(item for item in self._list(store) if self._may_go(item, now))
            if not self._listed:
                if self._phase == OLDEST:
                    return self._the_suspect(store, now)
                self._phase += 1
        return None

    def put(self, item: SealedObject, body: bytes) -> Answer:
        """Hand one object to the sink, which is made here, in the thread and process that use it."""
        try:
            if self._sink is None or self._pid != os.getpid():
                self._sink, self._pid = self._factory(), os.getpid()
        except Exception as error:  # of a wrong config or a missing extra, whose texts say what to do
            return TryAgain(str(error), refused=True)
        try:
            return self._sink.put(item.key, body, item.content_type)
        except Exception as error:  # a fault in a sink must cost neither the object nor the thread
            return TryAgain(f"the sink '{self.name}' failed: {type(error).__name__}: {error}"[:300])

    def succeeded(self, item: SealedObject, now: float) -> None:
        """The object is settled, or will never be: on with the next one."""
        if self._suspect is not None and self._suspect != item.id:
            self._set_apart(self._suspect, now)
        self._suspect = None
        self._apart.pop(item.id, None)
        self.failures = self._refusals = 0
        self.refused = False
        if self._listed and self._listed[0].id == item.id:
            self._listed.popleft()
        if self._phase == NEWEST and not self._listed:
            self._phase = OLDEST

    def gone(self) -> None:
        """The object at hand was settled or given up elsewhere."""
        self._listed.popleft()

    def failed(self, item: SealedObject, answer: TryAgain, now: float) -> None:
        """Wait: exponential back-off with full jitter, longer where the sink refuses or asks for it."""
        self.failures += 1
        self.refused = answer.refused
        if answer.refused:
            self._refusals += 1
            self.blocked_until = now + self._refusal_delay()
            return
        self.blocked_until = now + self._delay(answer.delay)
        most = self.settings.retry_max_attempts
        if self.failures >= most - 1:
            self._suspect = item.id
            self._listed.clear()
        self.round_over = self.failures >= most

    def wait(self, now: float) -> float | None:
        """Seconds, above 0, until it may be tried again within this round; None where that is all."""
        if self.round_over:
            return None
        if self.blocked_until > now:
            return self.blocked_until - now
        return min((until - now for _, until in self._apart.values() if until > now), default=None)

    def close(self) -> None:
        """Let go of the sink's connections, unless they belong to a parent process."""
        if self._sink is not None and self._pid == os.getpid():
            self._sink.close()
        self._sink = None

    def _list(self, store: Store) -> list[SealedObject]:
        limit = PAGE + len(self._apart) + 1
        if self._phase == URGENT_FIRST:
            return outbox.pending(store, self.name, kinds=URGENT, limit=limit)
        if self._phase == OLDEST:
            return outbox.pending(store, self.name, limit=limit)
        newest: list[SealedObject] = []
        for kind in reversed(OTHERS):
            newest += outbox.pending(store, self.name, kinds=(kind,), newest=True, limit=1)
        return newest

    def _may_go(self, item: SealedObject, now: float) -> bool:
        return item.id != self._suspect and self._apart.get(item.id, (0, now))[1] <= now

    def _the_suspect(self, store: Store, now: float) -> SealedObject | None:
        """The object that failed last, if nothing else is left to try."""
        if self._suspect is None or self._apart.get(self._suspect, (0, now))[1] > now:
            return None
        for item in outbox.pending(store, self.name, limit=PAGE + len(self._apart) + 1):
            if item.id == self._suspect:
                return item
        self._suspect = None
        return None

    def _set_apart(self, object_id: int, now: float) -> None:
        count = self._apart.get(object_id, (0, 0.0))[0] + 1
        delay = self.settings.retry_base_delay_seconds * 2.0 ** min(count, 30)
        self._apart.pop(object_id, None)
        self._apart[object_id] = (count, now + min(delay, LONGEST_DELAY))
        while len(self._apart) > MAX_APART:
            self._apart.pop(next(iter(self._apart)))

    def _delay(self, asked: float | None) -> float:
        settings = self.settings
        growing = settings.retry_base_delay_seconds * 2.0 ** min(self.failures - 1, 60)
        jitter = self.rng.uniform(0.0, min(settings.retry_max_delay_seconds, growing))
        return min(max(asked or 0.0, 0.0), LONGEST_DELAY) + jitter

    def _refusal_delay(self) -> float:
        shortest = max(SHORTEST_REFUSAL, min(self.settings.upload_interval_seconds, LONGEST_DELAY))
        longest = min(LONGEST_DELAY, shortest * 2.0 ** min(self._refusals - 1, 60))
        return self.rng.uniform(longest / 2, longest)
