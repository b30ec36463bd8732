"""A progress bar for what takes longer than a moment; on a terminal only, and drawn by rich."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Advance = Callable[[int], None]
PATIENCE_SECONDS = 2.0  # what is done by then needs no bar, and rich is not even imported


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Advance]:
    """Gives a function to be called with how many more are done."""
    bar = _Bar(what, total)
    try:
        yield bar.advance if sys.stderr.isatty() else lambda count: None
    finally:
        bar.stop()


class _Bar:
    def __init__(self, what: str, total: int | None) -> None:
        self.what = what
        self.total = total
        self.done = 0
        self.began = time.monotonic()
        self.drawn: Any = None
        self.task: Any = None

    def advance(self, count: int) -> None:
        self.done += count
        if self.drawn is None and time.monotonic() - self.began > PATIENCE_SECONDS:
            self._draw()
        if self.drawn is not None:
            self.drawn.update(self.task, completed=self.done)

    def _draw(self) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self.drawn = Progress(console=Console(stderr=True), transient=True)
        self.task = self.drawn.add_task(self.what, total=self.total)
        self.drawn.start()

    def stop(self) -> None:
        if self.drawn is not None:
            self.drawn.stop()


@contextmanager
def shares(what: str) -> Iterator[Callable[[float], None]]:
    """Like `progress`, for what is told the share that is done, from 0 to 1."""
    with progress(what, 1000) as advance:
        done = 0

        def tell(share: float) -> None:
            nonlocal done
            now = int(share * 1000)
            advance(now - done)
            done = now

        yield tell
