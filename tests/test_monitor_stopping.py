"""`stop()` and the end of the program: within one time in all whatever hangs, nothing lost in silence."""

from __future__ import annotations

import fcntl
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_mlops_monitor import EdgeMonitor, background, opening, runtime
from edge_mlops_monitor.background import Background
from edge_mlops_monitor.capture.recorder import Recorder
from edge_mlops_monitor.clock import Clock
from edge_mlops_monitor.records import Event
from edge_mlops_monitor.store import Store
from edge_mlops_monitor.telemetry.sinks.memory import MemorySink
from edge_mlops_monitor.telemetry.sinks.sink import Answer
from faulty_http_server import HANG, FaultyServer
from programs import kill, run, started, until

STOP_SECONDS = 0.5
BOUND = 60 * STOP_SECONDS  # generous: what hangs in these tests hangs for ever
HOLDS = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], timeout=60.0, isolation_level=None)
connection.execute(sys.argv[2])
connection.execute("SELECT count(*) FROM sequences").fetchall()
print("held", flush=True)
time.sleep(3600)
"""
HOW = {"write lock": "BEGIN IMMEDIATE", "whole file": "BEGIN EXCLUSIVE", "read lock": "BEGIN"}


@pytest.fixture(autouse=True)
def _little_time_to_stop_and_endless_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "STOP_SECONDS", STOP_SECONDS)
    monkeypatch.setattr(opening, "BUSY_SECONDS", math.inf)
    monkeypatch.setattr(opening, "ALONE_SECONDS", math.inf)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.WARNING, "edge_mlops_monitor")
    return lambda: [text for text in caplog.messages if "could not be stored" in text]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Callable[..., EdgeMonitor]]:
    """Makes a monitor that writes when it is told to; stopped at the end of the test."""
    monitors: list[EdgeMonitor] = []

    def make(**more: Any) -> EdgeMonitor:
        storage, seldom = {"sqlite_path": str(tmp_path / "m.db")}, {"flush_interval_seconds": 3600}
        monitors.append(EdgeMonitor(config={"storage": storage, "model_logging": seldom, **more}))
        return monitors[-1]

    yield make
    for monitor in monitors:
        stop(monitor)


@contextmanager
def held(path: Path, how: str) -> Iterator[None]:
    """While another process holds the database."""
    with started(HOLDS, path, HOW[how]) as holder:
        assert "held" in until(holder, "held")
        try:
            yield
        finally:
            kill(holder)


def stop(monitor: EdgeMonitor) -> None:
    """Stop it in a thread of its own, so that a stop that never ends fails the test."""
    stopping = threading.Thread(target=monitor.stop, daemon=True)
    stopping.start()
    stopping.join(BOUND)
    assert not stopping.is_alive()


def outputs(monitor: EdgeMonitor) -> list[Any]:
    return [one.outputs for one in monitor.predictions()]


@pytest.mark.parametrize("how", HOW)
def test_stop_is_bounded_while_another_process_holds_the_database_for_ever(
    made: Callable[..., EdgeMonitor], tmp_path: Path, said: Callable[[], list[str]], how: str
) -> None:
    monitor = made(sinks={"folder": {"type": "file", "path": str(tmp_path / "b")}})
    monitor._runtime.start_deciding()
    monitor.start_telemetry_upload()
    monitor.log_prediction(1, "stored")
    assert monitor.flush(60)
    monitor.check_drift()
    with held(tmp_path / "m.db", how):
        monitor.log_prediction(2, "kept")
        monitor.log_actual("p", 2)
        monitor.log_model_input(3)
        stop(monitor)
        (sentence,) = said()
        assert sentence.startswith("3 records could not be stored (")
        assert sentence.endswith(
            "they wait in memory for the next start(), flush() or the end of the program"
        )
    assert monitor.flush(60)
    assert outputs(monitor) == [None, "kept", "stored"]
    stop(monitor)
    assert len(said()) == 1


def test_stop_is_bounded_where_the_database_was_held_before_it_could_be_opened(
    made: Callable[..., EdgeMonitor], tmp_path: Path, said: Callable[[], list[str]]
) -> None:
    Store(tmp_path / "m.db").close()
    monitor = made()
    with held(tmp_path / "m.db", "whole file"):
        monitor.log_prediction(1, "kept")
        monitor.start()
        stop(monitor)
        assert len(said()) == 1
    assert monitor.flush(60)
    assert outputs(monitor) == ["kept"]
    stop(monitor)


def test_what_a_hanging_disk_has_not_taken_yet_is_counted(
    made: Callable[..., EdgeMonitor], monkeypatch: pytest.MonkeyPatch, said: Callable[[], list[str]]
) -> None:
    monitor, opens, go_on = made(), threading.Event(), threading.Event()
    open_store = monitor._runtime.recorder._open_store

    def hangs() -> Store:
        opens.set()
        assert go_on.wait(60)
        return open_store()

    monkeypatch.setattr(monitor._runtime.recorder, "_open_store", hangs)
    monitor.log_prediction(1, "late")
    monitor.log_prediction(2, "late")
    monitor._runtime.start_uploading()  # the writer alone
    assert opens.wait(60)
    try:
        stop(monitor)
    finally:
        go_on.set()
    assert [sentence.partition("(")[0] for sentence in said()] == ["2 records could not be stored "]
    assert monitor.flush(60)
    assert outputs(monitor) == ["late", "late"]
    stop(monitor)


def test_stop_is_bounded_while_a_callback_never_comes_back(made: Callable[..., EdgeMonitor]) -> None:
    called, go_on = threading.Event(), threading.Event()

    def never_comes_back(event: Event) -> None:
        called.set()
        go_on.wait()

    monitor = made(model_logging={"flush_interval_seconds": 0.05})
    monitor.on_event(never_comes_back, "info")
    monitor.start()
    monitor._runtime.order("test", "one")
    assert called.wait(60)
    monitor._runtime.order("test", "another")
    monitor.log_prediction(1, "stored")
    try:
        stop(monitor)
    finally:
        go_on.set()
    assert monitor.flush(60)
    assert outputs(monitor) == ["stored"]


def test_callbacks_hear_at_the_end_of_what_was_said_last(
    made: Callable[..., EdgeMonitor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "STOP_SECONDS", 60.0)  # here nothing hangs
    heard: list[str] = []
    monitor = made()
    monitor.on_event(lambda event: heard.append(event.message), "info")
    monitor.start()
    with monitor._runtime.open_store().transaction() as tx:
        tx.event("test", "info", "last words")
    stop(monitor)
    assert "last words" in heard


def test_what_hangs_takes_no_more_than_the_time_there_is_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0

    def hang(timeout: float) -> bool:
        nonlocal now
        now += timeout
        return False

    class Hanging(Background):
        def stop(self, name: str, timeout: float) -> bool:
            return hang(timeout)

    monkeypatch.setattr(background, "time", SimpleNamespace(monotonic=lambda: now))
    recorder = Recorder(lambda: pytest.fail("opened"))
    monkeypatch.setattr(recorder.worker, "stop", hang)
    for flushed in (True, False):
        now = 100.0
        monkeypatch.setattr(recorder, "flush", (lambda timeout: True) if flushed else hang)
        Hanging(recorder, Clock()).stop_all(8.0)
        assert now == pytest.approx(108.0)


ENDS = """
import logging, sys, threading
from edge_mlops_monitor import EdgeMonitor, opening, runtime
logging.basicConfig(stream=sys.stdout, format="%(message)s")
runtime.STOP_SECONDS, opening.BUSY_SECONDS, opening.ALONE_SECONDS = 0.5, 1e9, 1e9
monitor = EdgeMonitor(config={"storage": {"sqlite_path": sys.argv[1]}})
if sys.argv[2] == "started":
    monitor._runtime.start_uploading()  # the writer alone
for i in range(3):
    monitor.log_prediction(i, i)

def start(thread):
    raise RuntimeError("can't create new thread at interpreter shutdown")

if sys.argv[2] == "no more threads":  # as of Python 3.12
    threading.Thread.start = start
"""


def test_the_end_of_the_program_is_bounded_and_says_what_is_lost(tmp_path: Path) -> None:
    Store(tmp_path / "m.db").close()
    with held(tmp_path / "m.db", "write lock"):
        for how in ("started", "not started", "no more threads"):
            printed = run(ENDS, tmp_path / "m.db", how, timeout=60)
            (sentence,) = printed.splitlines()
            assert sentence.startswith("3 records could not be stored (")
            assert sentence.endswith("they are lost, since the program ends")


def test_the_end_of_the_program_is_bounded_where_the_folder_is_locked(tmp_path: Path) -> None:
    Store(tmp_path / "m.db").close()
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        assert run(ENDS, tmp_path / "m.db", "no more threads", timeout=60) == ""
    finally:
        os.close(folder)
    assert Store(tmp_path / "m.db").counts()["predictions"] == 3


def test_on_a_full_disk_stop_says_what_waits_and_it_is_written_once_there_is_space(tmp_path: Path) -> None:
    text = """
import logging, resource, signal, sys
from edge_mlops_monitor import EdgeMonitor, runtime
logging.basicConfig(stream=sys.stdout, format="%(message)s")
runtime.STOP_SECONDS = 60.0  # nothing hangs
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
monitor = EdgeMonitor(config={"storage": {"sqlite_path": sys.argv[1]}})
monitor._runtime.start_uploading()  # the writer alone
assert monitor.flush(60)
resource.setrlimit(resource.RLIMIT_FSIZE, (1, -1))
monitor.log_prediction(1, "kept")
monitor.stop()
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
monitor.start()
monitor.stop()
print([one.outputs for one in monitor.predictions()])
"""
    sentence, found = run(text, tmp_path / "m.db", timeout=60).splitlines()
    assert sentence.startswith("1 records could not be stored (no space for the database")
    assert found == "['kept']"


def test_who_no_longer_measures_the_device_lets_another_process_do_it(
    made: Callable[..., EdgeMonitor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = made()
    measured = threading.Event()
    monkeypatch.setattr(monitor._runtime.recorder, "put", lambda records: measured.set())
    monitor.start_system_monitoring()
    assert measured.wait(60)
    assert "system" in monitor.get_status()["processes"]
    monkeypatch.setattr(runtime, "STOP_SECONDS", 60.0)
    monitor.stop_system_monitoring()
    assert monitor.get_status()["processes"] == {}


def test_an_upload_that_outlasts_stop_gives_the_task_back_when_it_ends(
    made: Callable[..., EdgeMonitor],
) -> None:
    sending, go_on, before = threading.Event(), threading.Event(), set(threading.enumerate())

    class Slow(MemorySink):
        def put(self, key: str, body: bytes, content_type: str) -> Answer:
            sending.set()
            go_on.wait(60)
            return super().put(key, body, content_type)

    monitor = made(telemetry={"upload_interval_seconds": 0.1}, sinks={"slow": {"type": "file", "path": "b"}})
    monitor._runtime._sink_makers = {"slow": Slow}
    monitor.start_telemetry_upload()
    monitor.log_prediction(1, 1)
    assert monitor.flush(60)
    assert sending.wait(60)
    stop(monitor)
    new = set(threading.enumerate()) - before
    (uploading,) = (thread for thread in new if thread.name == "edge-monitor-uploader")
    go_on.set()
    uploading.join(60)
    assert monitor.get_status()["processes"] == {}


def test_stop_is_bounded_while_a_sink_hangs(made: Callable[..., EdgeMonitor]) -> None:
    pytest.importorskip("obstore")
    with FaultyServer(always=HANG) as server:
        monitor = made(
            telemetry={"upload_interval_seconds": 0.1},
            sinks={
                "hangs": {
                    "type": "s3",
                    "bucket": "b",
                    "endpoint_url": server.url,
                    "access_key_id": "a",
                    "secret_access_key": "b",
                }
            },
        )
        monitor.start()
        monitor.log_prediction(1, 1)
        assert monitor.flush(20)
        ends = time.monotonic() + 20
        while not server.requests and time.monotonic() < ends:
            time.sleep(0.01)
        stop(monitor)
        assert outputs(monitor) == [1]
    for thread in threading.enumerate():
        if thread.name == "edge-monitor-uploader":  # the server is gone, so it ends now
            thread.join(30)
