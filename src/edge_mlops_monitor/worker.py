"""One named background thread that runs `step(now)` again and again, and can always be stopped.

`step` gets the monotonic time and may return the seconds until it wants to run next; otherwise it
runs every `interval` seconds, and ticks missed while the machine slept are skipped. An exception
in `step` is logged once per text and never ends the thread. What is to be done at the end, `last`, is
done by the thread itself, so that whoever stops it never waits longer than it wants to. Threads do not
survive `os.fork`: in the child a worker is simply not running, and whoever owns it starts it again.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

from edge_mlops_monitor.clock import Clock

logger = logging.getLogger("edge_mlops_monitor")

Step = Callable[[float], "float | None"]


class Bell:
    """Wakes one thread; unlike `threading.Event`, it may be rung in a signal handler at any moment."""

    def __init__(self) -> None:
        self.rung = False
        self._queue: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        """Wake the thread that waits, or that will."""
        if not self.rung:
            self.rung = True
            self._queue.put(None)

    def clear(self) -> None:
        """Forget that it was rung; whoever calls this looks at the work afterwards."""
        self.rung = False
        with suppress(Empty):
            while True:
                self._queue.get_nowait()

    def wait(self, timeout: float) -> None:
        """Wait until it is rung, at most `timeout` seconds; leaves it rung."""
        if not self.rung:
            with suppress(Empty):
                self._queue.get(timeout=timeout)


class Worker:
    """A stoppable background thread around `step(now) -> seconds until next | None`."""

    def __init__(
        self,
        name: str,
        step: Step,
        interval: float,
        clock: Clock | None = None,
        last: Callable[[], object] = lambda: None,
    ) -> None:
        self.name = name
        self.step = step
        self.interval = interval
        self.last = last
        self.clock = clock or Clock()
        self.last_error: str | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._stopping = False
        self._over = False  # the thread has seen that it is to end, and takes no further step
        self._wake = Bell()
        self._lock = threading.RLock()  # a signal handler may come in the middle of `start`

    @property
    def running(self) -> bool:
        """Whether the thread is alive in this process."""
        return self._alive(self._thread) and not self._over

    @property
    def awake(self) -> bool:
        """Whether a wake-up is under way already; costs no system call."""
        return self._wake.rung

    def start(self) -> None:
        """Start the thread; does nothing where it already runs."""
        if self._pid != os.getpid():  # in a forked child the parent's primitives may be held for ever
            self._lock, self._wake = threading.RLock(), Bell()
        with self._lock:
            self._stopping = False  # one that was about to end, but hangs in its step, goes on instead
            if self.running:
                return
            self._over = False
            self._wake.clear()
            self._pid = os.getpid()
            self._thread = threading.Thread(target=self._run, name=f"edge-monitor-{self.name}", daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """Run `step` soon."""
        self._wake.ring()

    def stop(self, timeout: float | None = 5.0) -> bool:
        """Ask the thread to end and wait up to `timeout` seconds; True once it has ended."""
        thread = self._thread
        self._stopping = True
        if thread is None or not self._alive(thread):
            return True
        self._wake.ring()
        if thread is not threading.current_thread():
            thread.join(timeout)
        return not thread.is_alive()

    def run_once(self, now: float | None = None) -> float | None:
        """One guarded step, in the calling thread."""
        try:
            delay = self.step(self.clock.monotonic() if now is None else now)
            self.last_error = None
            return delay
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            if text != self.last_error:
                logger.warning(
                    "%s: %s (will be tried again)", self.name, text, exc_info=logger.isEnabledFor(10)
                )
            self.last_error = text
            return None

    def _run(self) -> None:
        while True:
            self._go_on()
            self._finish()
            if self._ended():
                return

    def _go_on(self) -> None:
        due = self.clock.monotonic()
        while not self._stopping:
            now = self.clock.monotonic()
            if now >= due or self._wake.rung:
                self._wake.clear()
                delay = self.run_once(now)
                due = self.clock.monotonic() + (self.interval if delay is None else delay)
            if not self._stopping:  # `stop` may have rung the bell that was cleared before the step
                self._wake.wait(max(0.0, min(due - self.clock.monotonic(), 3600.0)))

    def _finish(self) -> None:
        try:
            self.last()
        except Exception as error:  # whatever is wrong here, the host must be able to end
            logger.warning("%s, while stopping: %s: %s", self.name, type(error).__name__, error)

    def _ended(self) -> bool:
        with self._lock:
            self._over = self._stopping
            return self._stopping

    def _alive(self, thread: threading.Thread | None) -> bool:
        return thread is not None and self._pid == os.getpid() and thread.is_alive()
