"""A lock whose waiters get their turn, and that a signal handler may ask for at any moment."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from edge_mlops_monitor import turns as module
from edge_mlops_monitor.turns import Turns


def somebody_waits(turns: Turns) -> None:
    while not turns._door.locked():
        time.sleep(0.001)


def test_who_waits_is_before_who_comes_again() -> None:
    turns, order = Turns(), []

    def once() -> None:
        with turns:
            order.append("waited")

    with ThreadPoolExecutor(1) as pool:
        for _ in range(20):
            with turns:
                waiting = pool.submit(once)
                somebody_waits(turns)
            with turns:
                order.append("came again")
            waiting.result(60)
    assert order == ["waited", "came again"] * 20


def test_it_is_reentrant_also_while_another_waits_at_the_door() -> None:
    turns = Turns()
    with ThreadPoolExecutor(1) as pool:
        with turns:
            waiting = pool.submit(turns.acquire)
            somebody_waits(turns)
            assert turns.acquire(timeout=60)
            turns.release()
        assert waiting.result(60)
        assert not turns.acquire(timeout=0.01)
        pool.submit(turns.release).result(60)
    with turns:
        pass


def test_a_signal_handler_in_a_thread_that_waits_gets_it_too() -> None:
    turns, held, let_go, got = Turns(), threading.Event(), threading.Event(), []

    def hold() -> None:
        with turns:
            held.set()
            somebody_waits(turns)
            os.kill(os.getpid(), signal.SIGUSR1)
            assert let_go.wait(60)

    def handler(*_: object) -> None:
        let_go.set()
        got.append(turns.acquire(timeout=60))
        turns.release()

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with ThreadPoolExecutor(1) as pool:
            holding = pool.submit(hold)
            assert held.wait(60)
            with turns:
                got.append(True)
            holding.result(60)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert got == [True, True]


def test_the_time_to_wait_is_for_door_and_lock_together(monkeypatch: pytest.MonkeyPatch) -> None:
    turns, moments, waits = Turns(), iter([100.0, 100.75]), []
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    monkeypatch.setattr(turns, "_acquire_inside", waits.append)
    assert not turns.acquire(timeout=1.0)
    assert waits == [0.25]
