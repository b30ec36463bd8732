"""Processes and threads that want the database at the same moment, on a slow disk."""

from __future__ import annotations

import math
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge_mlops_monitor import opening
from edge_mlops_monitor import store as store_module
from edge_mlops_monitor.errors import StoreError
from edge_mlops_monitor.store import Store

READ = "SELECT count(*) FROM state"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "m.db")
    yield store
    store.close()


@pytest.fixture
def other(store: Store) -> Iterator[sqlite3.Connection]:
    """A connection of another process, one that does not wait."""
    plain = sqlite3.connect(store.path, timeout=0.0, isolation_level=None, check_same_thread=False)
    with closing(plain) as connection:
        yield connection


def write(store: Store) -> None:
    with store.transaction() as tx:
        tx.put("name", b"value")


def slow_commits(monkeypatch: pytest.MonkeyPatch, rest: float) -> list[float]:
    """Let each commit count as a slow one, and each rest pass at once; the rests that were taken."""
    rests: list[float] = []
    monkeypatch.setattr(opening, "REST_SHARE", 1e9)
    monkeypatch.setattr(opening, "MOST_REST_SECONDS", rest)
    monkeypatch.setattr(opening, "time", SimpleNamespace(monotonic=time.monotonic, sleep=rests.append))
    return rests


def test_after_a_slow_commit_the_file_is_left_to_others_before_the_next(
    store: Store, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests = slow_commits(monkeypatch, 3600.0)
    write(store)

    def others(seconds: float) -> None:
        rests.append(seconds)
        other.execute("BEGIN IMMEDIATE")
        other.execute("COMMIT")

    rests.clear()
    monkeypatch.setattr(opening.time, "sleep", others)
    write(store)
    assert len(rests) == 1
    assert rests[0] > 3000.0


def test_who_had_to_wait_for_another_writer_lets_readers_in_before_it_writes(
    store: Store, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_commits(monkeypatch, 0.02)
    write(store)
    seen: list[bool] = []
    connection = store._connection
    assert connection is not None

    def readers(seconds: float) -> None:
        if connection.in_transaction:
            seen.append(other.execute(READ).fetchall()[0][0] > 0)
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")

    monkeypatch.setattr(opening.time, "sleep", readers)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.1, other.execute, ("COMMIT",))  # longer than the rest
    connection.set_trace_callback(lambda sql: None if release.ident else release.start())
    write(store)
    release.join()
    assert seen == [True]


def test_on_a_fast_disk_no_rest_is_worth_speaking_of(store: Store) -> None:
    write(store)
    connection = store._connection
    assert connection is not None
    assert connection.rest <= opening.REST_SHARE * (connection.committed_at - connection.asked_at)


def test_who_waited_behind_another_thread_does_not_wait_anew_for_another_process(
    store: Store, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def monotonic() -> float:
        nonlocal now
        now += 1.0
        return now

    asked, looks = threading.Event(), []
    lock = store._lock

    class Waited:
        def __enter__(self) -> None:
            asked.set()
            lock.acquire()

        def __exit__(self, *error: object) -> None:
            lock.release()

    clock = SimpleNamespace(monotonic=monotonic, sleep=lambda seconds: None)
    monkeypatch.setattr(opening, "time", clock)
    monkeypatch.setattr(store_module, "time", clock)
    monkeypatch.setattr(store, "_lock", Waited())
    other.execute("BEGIN EXCLUSIVE")
    connection = store._connection
    assert connection is not None
    for act in (lambda: write(store), lambda: store.counts()):
        asked.clear()
        looks.clear()
        with ThreadPoolExecutor(1) as pool:
            with lock:
                waiting = pool.submit(act)
                assert asked.wait(60)
                now += opening.BUSY_SECONDS
                connection.set_trace_callback(looks.append)
            with pytest.raises(StoreError, match="held by another process"):
                waiting.result(60)
        assert len(looks) == 1


def test_who_waits_already_gives_up_where_there_is_no_time_left(
    store: Store, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "BUSY_SECONDS", 3600.0)
    waits = threading.Event()
    connection = store._connection
    assert connection is not None
    other.execute("BEGIN EXCLUSIVE")
    connection.set_trace_callback(lambda sql: waits.set())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(write, store)
        assert waits.wait(60)
        store.patience.until = 0.0
        with pytest.raises(StoreError, match="held by another process"):
            waiting.result(60)
    other.execute("COMMIT")
    store.patience.until = math.inf
    write(store)
