"""The threads behind a monitor: the writer, and those that work for the whole device.

Whoever stops them only waits for them, and for no longer than it wants to: what is to be done at the end
each of them does itself. One that hangs is left behind, and ends once it can.

They do not survive `os.fork`: in a child none runs until the first call that logs there starts them again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from edge_mlops_monitor.capture.recorder import Recorder
from edge_mlops_monitor.clock import Clock
from edge_mlops_monitor.worker import Step, Worker

UPLOAD_SECONDS = 0.5  # enough for a commit; the network is never waited for


class Background:
    """Threads by name, beside the recorder's writer, which runs wherever another does."""

    def __init__(self, recorder: Recorder, clock: Clock) -> None:
        self._recorder = recorder
        self._clock = clock
        self._workers: dict[str, Worker] = {}
        self.wanted: set[str] = set()  # names of those that are to run, in a forked child as well

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._workers.values())

    def start(
        self, name: str, step: Step, interval: float, last: Callable[[], object] = lambda: None
    ) -> None:
        """Run `step` every interval in a thread of this name, and `last` at its end."""
        self.start_writer(name)
        worker = self._workers.get(name)
        if worker is None:
            worker = self._workers[name] = Worker(name, step, interval, self._clock, last)
        worker.start()

    def start_writer(self, name: str = "writer") -> None:
        """Run the writer, for what has this name."""
        self.wanted.add(name)
        self._recorder.worker.start()

    def restart(self) -> None:
        """In a forked child: run what ran in the parent."""
        for name in list(self.wanted):
            if name in self._workers:
                self._workers[name].start()
        self._recorder.worker.start()

    def stop_all(self, seconds: float) -> None:
        """Store what was logged and end all threads, in `seconds` at most.

        To store comes first. Then each may take half of what is left, so that one that hangs leaves time to
        the next; the decider, which minds the time itself, all of it. Callbacks hear of what it found last.
        """
        ends = time.monotonic() + seconds

        def left() -> float:
            return max(0.0, ends - time.monotonic())

        self.stop("system", 0.0)
        self._recorder.flush(left())
        self.stop("decider", left())
        for name in ("notifier", "system"):
            self.stop(name, left() / 2)
        self.stop("uploader", min(UPLOAD_SECONDS, left() / 2))
        self._recorder.flush(left())
        self._recorder.worker.stop(left())
        self.wanted.discard("writer")

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
