"""A worker: one thread that can always be stopped, started again, and never ends by an error."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator

import pytest

from edge_mlops_monitor.worker import Worker


class Steps:
    """A step that can be waited for, and held up."""

    def __init__(self) -> None:
        self.count = 0
        self.done = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.go_on.set()
        self.errors: list[Exception] = []

    def __call__(self, now: float) -> float | None:
        self.count += 1
        self.done.release()
        self.go_on.wait(30)
        if self.errors:
            raise self.errors.pop(0)
        return None


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest.fixture
def worker(steps: Steps) -> Iterator[Worker]:
    worker = Worker("fixture", steps, 3600.0)
    yield worker
    steps.go_on.set()
    assert worker.stop()


def test_it_steps_at_the_start_and_when_it_is_woken(worker: Worker, steps: Steps) -> None:
    worker.start()
    assert steps.done.acquire(timeout=60)
    assert not steps.done.acquire(timeout=0.05)
    worker.wake()
    assert steps.done.acquire(timeout=60)
    assert steps.count == 2


def test_a_wake_up_during_a_step_is_not_lost(worker: Worker, steps: Steps) -> None:
    steps.go_on.clear()
    worker.start()
    assert steps.done.acquire(timeout=60)
    worker.wake()
    assert worker.awake
    steps.go_on.set()
    assert steps.done.acquire(timeout=60)


def test_start_and_stop_are_idempotent_from_any_thread(worker: Worker, steps: Steps) -> None:
    threads = [threading.Thread(target=worker.start) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = [thread.name for thread in threading.enumerate() if thread.name == "edge-monitor-fixture"]
    assert len(names) == 1
    assert steps.done.acquire(timeout=60)
    assert worker.stop()
    assert worker.stop()
    assert not worker.running
    worker.start()
    assert steps.done.acquire(timeout=60)
    assert worker.running


def test_stop_is_bounded_while_a_step_hangs_and_a_start_lets_it_go_on(worker: Worker, steps: Steps) -> None:
    steps.go_on.clear()
    worker.start()
    assert steps.done.acquire(timeout=60)
    assert not worker.stop(timeout=0.05)
    worker.start()
    steps.go_on.set()
    worker.wake()
    assert steps.done.acquire(timeout=60)
    assert worker.running


def test_a_worker_can_stop_itself(steps: Steps) -> None:
    def step(now: float) -> None:
        worker.stop()
        steps(now)

    worker = Worker("test", step, 0.001)
    worker.start()
    thread = worker._thread
    assert thread is not None
    thread.join(60)
    assert steps.count == 1


def test_an_error_is_said_once_and_ends_nothing(
    worker: Worker, steps: Steps, caplog: pytest.LogCaptureFixture
) -> None:
    steps.errors = [ValueError("one"), ValueError("one"), ValueError("two")]
    with caplog.at_level(logging.WARNING, "edge_mlops_monitor"):
        for _ in range(3):
            worker.run_once(0.0)
    assert [record.getMessage() for record in caplog.records] == [
        "fixture: ValueError: one (will be tried again)",
        "fixture: ValueError: two (will be tried again)",
    ]
    assert worker.last_error == "ValueError: two"
    worker.run_once(0.0)
    assert worker.last_error is None


def test_a_step_says_when_it_wants_to_run_next() -> None:
    done = threading.Semaphore(0)
    count = 0

    def step(now: float) -> float:
        nonlocal count
        count += 1
        done.release()
        return 0.0 if count < 5 else 3600.0

    worker = Worker("test", step, 3600.0)
    worker.start()
    for _ in range(5):
        assert done.acquire(timeout=60)
    assert not done.acquire(timeout=0.05)
    assert worker.stop()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")  # Python 3.12 warns of any such fork
def test_it_is_not_running_in_a_forked_child(worker: Worker, steps: Steps) -> None:
    worker.start()
    assert steps.done.acquire(timeout=60)
    child = os.fork()
    if child == 0:
        os._exit(1 if worker.running else 0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert worker.running


def test_a_stop_just_before_the_bell_is_cleared_for_a_step_is_heard(worker: Worker, steps: Steps) -> None:
    worker.start()
    assert steps.done.acquire(timeout=60)
    thread = worker._thread
    assert thread is not None
    clear = worker._wake.clear

    def stopped_meanwhile() -> None:
        assert not worker.stop(timeout=0.0)
        clear()

    worker._wake.clear = stopped_meanwhile  # type: ignore[method-assign]
    worker.wake()
    thread.join(20)
    assert not thread.is_alive()


def test_stop_waits_for_a_thread_that_another_has_told_to_end() -> None:
    about_to_end, go_on = threading.Event(), threading.Event()

    class Lingers(Worker):
        def _ended(self) -> bool:
            if super()._ended():
                about_to_end.set()
                go_on.wait(60)
                return True
            return False

    worker = Lingers("lingers", lambda now: None, 3600.0)
    worker.start()
    assert not worker.stop(0.0)
    assert about_to_end.wait(60)
    assert not worker.running
    assert not worker.stop(0.0)
    go_on.set()
    assert worker.stop(60)


def test_what_is_to_be_done_last_is_done_by_the_thread_and_not_waited_for(steps: Steps) -> None:
    done, go_on = threading.Semaphore(0), threading.Event()

    def last() -> None:
        done.release()
        assert go_on.wait(60)

    worker = Worker("fixture", steps, 3600.0, last=last)
    worker.start()
    assert steps.done.acquire(timeout=60)
    assert not worker.stop(timeout=0.05)
    assert done.acquire(timeout=60)
    worker.start()  # it goes on, in the same thread, once it is through with that
    go_on.set()
    assert steps.done.acquire(timeout=60)
    assert worker.stop(timeout=60)
    assert done.acquire(timeout=60)
    assert not done.acquire(timeout=0.0)


def test_an_error_in_what_is_done_last_is_logged(caplog: pytest.LogCaptureFixture, steps: Steps) -> None:
    def last() -> None:
        raise ValueError("no")

    caplog.set_level(logging.WARNING, "edge_mlops_monitor")
    worker = Worker("fixture", steps, 3600.0, last=last)
    worker.start()
    assert worker.stop(timeout=60)
    assert "fixture, while stopping: ValueError: no" in caplog.messages
