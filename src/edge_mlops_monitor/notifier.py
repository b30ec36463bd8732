"""Calls back for events, in a background thread, whichever process of the device raised them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

from edge_mlops_monitor.blocks import SEQ_BITS
from edge_mlops_monitor.clock import Clock
from edge_mlops_monitor.records import SEVERITIES, Event
from edge_mlops_monitor.store import Store

logger = logging.getLogger("edge_mlops_monitor")

Callback = Callable[[Event], object]


class Notifier:
    """Hands each new event of at least a callback's severity to it; what a callback raises is logged."""

    def __init__(self, open_store: Callable[[], Store], clock: Clock) -> None:
        self._open_store = open_store
        self._clock = clock
        self._callbacks: list[tuple[Callback, int]] = []
        self._cursor: int | None = None
        self._since = 0.0

    def add(self, callback: Callback, min_severity: str) -> None:
        """Call `callback` for events from now on; ValueError for an unknown severity."""
        if min_severity not in SEVERITIES:
            raise ValueError(f"unknown severity '{min_severity}'; known: {', '.join(SEVERITIES)}")
        if not self._callbacks:
            self._since = self._clock.time()
            with suppress(OSError):  # the store cannot be opened or is held: `step` finds the place by time
                self._cursor = self._open_store().newest_key("events")
        self._callbacks.append((callback, SEVERITIES.index(min_severity)))

    @property
    def wanted(self) -> bool:
        """Whether anybody wants to be called."""
        return bool(self._callbacks)

    def step(self, now: float) -> None:
        """Hand out the events that were stored since the last step."""
        store = self._open_store()
        if self._cursor is None:
            self._cursor = self._place_by_time(store)
        while found := store.blocks("events", after=self._cursor, limit=1):
            self._cursor = found[0].key
            for event in found[0].records():
                assert isinstance(event, Event)
                self._hand_out(event)

    def _place_by_time(self, store: Store) -> int:
        """The key of the newest event from before the first callback was added, by its time; 0: none.

        Events of an earlier boot may be from the future: the clock was not set when this one began.
        """
        earlier = f"key < (SELECT max(number) << {SEQ_BITS} FROM generations)"
        sql = f"SELECT max(key) FROM events WHERE last_ts < ? OR {earlier}"
        return store.query(sql, (self._since,))[0][0] or 0

    def _hand_out(self, event: Event) -> None:
        level = SEVERITIES.index(event.severity) if event.severity in SEVERITIES else 0
        for callback, wanted in list(self._callbacks):
            if level >= wanted:
                try:
                    callback(event)
                except Exception:
                    logger.exception("the on_event callback %r failed", callback)
