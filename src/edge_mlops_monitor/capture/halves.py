"""Halves of predictions: an input logged now whose output comes later, joined by id.

A half waits in memory. A flush, or a minute without its output, writes it down alone; if the output comes
within ten minutes after all, the whole record takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from edge_mlops_monitor.clock import Clock

ALONE_AFTER_SECONDS = 60.0
FORGOTTEN_AFTER_SECONDS = 600.0
MAX_WAITING = 10_000


class Half:
    """An input that waits for its output; `raw` is its encoding, `wanted` whether sampling keeps it."""

    __slots__ = ("began", "raw", "stored", "ts", "wanted")

    def __init__(self, ts: float, began: float, inputs: bytes) -> None:
        self.ts = ts
        self.began = began
        self.raw = msgspec.Raw(inputs)
        self.stored = False
        self.wanted = True

    def row(self, id: str, encode: Callable[[Any], bytes]) -> bytes:
        """The row of a half that stays alone."""
        return encode((self.ts, id, None, None, None, self.raw, None, None, None, None))


class Halves:
    """The inputs that wait, oldest first."""

    def __init__(self, clock: Clock, max_bytes: int) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        self._waiting: dict[str, Half] = {}
        self.bytes = 0

    def begin(self, id: str, ts: float, inputs: bytes) -> None:
        """An input came."""
        self._waiting[id] = Half(ts, self._clock.monotonic(), inputs)
        self.bytes += len(inputs)

    def skip(self, id: str) -> None:
        """An input came that is not to be recorded, nor its output."""
        half = self._waiting[id] = Half(0.0, self._clock.monotonic(), b"")
        half.wanted, half.stored = False, True

    def finish(self, id: str) -> Half | None:
        """Its output came: the input, if it is still known."""
        return self._waiting.pop(id, None)

    def due(self, *, everything: bool) -> list[tuple[str, Half]]:
        """The halves to be written down alone now."""
        now = self._clock.monotonic()
        due = []
        waiting = list(self._waiting.items())
        count, size = len(waiting), sum(len(half.raw) for _, half in waiting)
        for id, half in waiting:
            age = now - half.began
            surplus = count > MAX_WAITING or size > self._max_bytes
            if not half.stored and (everything or surplus or age > ALONE_AFTER_SECONDS):
                due.append((id, half))
            if surplus or (half.stored and age > FORGOTTEN_AFTER_SECONDS):
                count, size = count - 1, size - len(half.raw)
                if half.stored:
                    self._waiting.pop(id, None)
        self.bytes = size
        return due

    def stored(self, halves: Iterable[tuple[str, Half]]) -> None:
        """These are in the store now."""
        for _, half in halves:
            half.stored = True

    @property
    def unstored(self) -> int:
        """How many of those that wait are not in the store, not even alone."""
        return sum(not half.stored for half in list(self._waiting.values()))

    def __len__(self) -> int:
        return len(self._waiting)
