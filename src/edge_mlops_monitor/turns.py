"""A lock for threads of which some take it again and again: who waits gets its turn."""

from __future__ import annotations

import threading
import time


class Turns:
    """A reentrant lock; a thread that waits is before those that come after it.

    A lock of Python is for whoever asks first once it is free: a thread that takes it again at once always
    is. So only who is inside a door waits for the lock. A signal handler in a thread that is on its way in,
    or in already, does not ask for the door.

    >>> turns = Turns()
    >>> with turns, turns:
    ...     turns.acquire(timeout=1.0)
    True
    >>> turns.release()
    """

    def __init__(self) -> None:
        self._door = threading.Lock()
        self._lock = threading.RLock()
        self._here = threading.local()

    def acquire(self, timeout: float = -1) -> bool:
        """Wait for it, at most `timeout` seconds; whether it was got."""
        depth = getattr(self._here, "depth", 0)
        self._here.depth = depth + 1
        got = False
        try:
            got = self._acquire_inside(timeout) if depth else self._acquire_at_door(timeout)
        finally:
            if not got:
                self._here.depth = depth
        return got

    def release(self) -> None:
        """Let the next one have it."""
        self._lock.release()
        self._here.depth -= 1

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()

    def _acquire_inside(self, timeout: float) -> bool:
        return self._lock.acquire(timeout=timeout)

    def _acquire_at_door(self, timeout: float) -> bool:
        if timeout < 0:
            with self._door:
                return self._acquire_inside(timeout)
        ends = time.monotonic() + timeout
        if not self._door.acquire(timeout=timeout):
            return False
        try:
            return self._acquire_inside(max(0.0, ends - time.monotonic()))
        finally:
            self._door.release()
