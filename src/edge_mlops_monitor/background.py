"""The threads behind a monitor: the writer, and those that work for the whole device.

They do not survive `os.fork`: in a child none runs until the first call that logs there starts them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edge_mlops_monitor.clock import Clock
from edge_mlops_monitor.worker import Worker


class Background:
    """Threads by name, beside `writer`, which runs wherever another does."""

    def __init__(self, writer: Callable[[], Worker], clock: Clock) -> None:
        self._writer = writer  # another one after each fork
        self._clock = clock
        self._workers: dict[str, Worker] = {}
        self.wanted: set[str] = set()  # names of those that are to run, in a forked child as well

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._workers.values())

    def start(self, name: str, step: Callable[[float], float | None] | None, interval: float) -> None:
        """Run `step` every interval in a thread of this name; None: the writer alone."""
        self.wanted.add(name)
        self._writer().start()
        if step is not None:
            worker = self._workers.get(name)
            if worker is None:
                worker = self._workers[name] = Worker(name, step, interval, self._clock)
            worker.start()

    def restart(self) -> None:
        """In a forked child: run what ran in the parent."""
        for name in list(self.wanted):
            if name in self._workers:
                self._workers[name].start()
        self._writer().start()

    def stop(self, name: str, timeout: float) -> bool:
        """Ask a thread to end and wait up to `timeout` seconds; True once it has ended."""
        self.wanted.discard(name)
        worker = self._workers.get(name)
        return worker is None or worker.stop(timeout)

    def wake(self, name: str) -> None:
        """Let a thread that runs do its step soon."""
        worker = self._workers.get(name)
        if worker is not None and worker.running:
            worker.wake()
