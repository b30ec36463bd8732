"""Sampling: which predictions are recorded at all. Those that had an error always are."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from edge_mlops_monitor.clock import Clock

Keep = Callable[[], bool]


def sampler(
    rate: float = 1.0,
    every: int | None = None,
    per_minute: float | None = None,
    *,
    clock: Clock | None = None,
    seed: int | None = None,
) -> Keep | None:
    """A function that says whether to keep the next prediction; None where all are kept.

    `rate` keeps that share at random, `every` each nth, `per_minute` at most so many a minute, evenly
    refilled; several together keep what all of them keep.

    >>> keep = sampler(every=3)
    >>> [keep() for _ in range(6)]
    [True, False, False, True, False, False]
    """
    keeps: list[Keep] = []
    if rate < 1.0:
        from random import Random

        draw = Random(seed).random
        keeps.append(lambda: draw() < rate)
    if every is not None and every > 1:
        numbers = count()
        keeps.append(lambda: next(numbers) % every == 0)
    if per_minute is not None:
        keeps.append(_Bucket(per_minute, clock or Clock()))
    if not keeps:
        return None
    return keeps[0] if len(keeps) == 1 else lambda: all(keep() for keep in keeps)


class _Bucket:
    """A token bucket that holds one minute's budget."""

    def __init__(self, per_minute: float, clock: Clock) -> None:
        self.per_minute = per_minute
        self.clock = clock
        self.tokens = max(per_minute, 1.0)
        self.filled = clock.monotonic()

    def __call__(self) -> bool:
        now = self.clock.monotonic()
        refill = (now - self.filled) * self.per_minute / 60.0
        self.tokens, self.filled = min(self.tokens + refill, max(self.per_minute, 1.0)), now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True
