"""Forks, exits, threads, signals: whatever the host program does, what was logged is stored once."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from edge_mlops_monitor.records import Prediction
from edge_mlops_monitor.store import Store
from programs import run, started

MADE = """
import os, signal, sys, threading, time
from edge_mlops_monitor import EdgeMonitor

def made(**more):
    storage = {"sqlite_path": sys.argv[1], "max_sqlite_size_mb": 2000}  # a fast machine logs more than 100 MB
    return EdgeMonitor(config={"storage": storage, **more})

def ended(pid):
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status

"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.db"


def stored(path: Path) -> Counter[str]:
    """How often each output is stored; the numbers are contiguous and the file is sound."""
    store = Store(path, create=False)
    found = [one for one in store.newest("predictions") if isinstance(one, Prediction)]
    assert sorted(one.seq for one in found) == list(range(1, len(found) + 1))
    assert len({one.id for one in found}) == len(found)
    store.close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    return Counter(str(one.outputs) for one in found)


def program(text: str, path: Path) -> str:
    return run(MADE + text, path)


# - fork -


def test_parent_and_child_of_a_fork_log_each_their_own(path: Path) -> None:
    text = """
monitor = made()
monitor.start()
for i in range(100):
    monitor.log_prediction(i, "before")
child = os.fork()
if child == 0:
    ids = [monitor.log_prediction(i, "child") for i in range(100)]
    assert monitor.flush(20)
    print(ids[0].split("-")[0], flush=True)
    os._exit(0)
ids = [monitor.log_prediction(i, "parent") for i in range(100)]
ended(child)
assert monitor.flush(20)
print(ids[0].split("-")[0], flush=True)
monitor.stop()
"""
    sessions = program(text, path).split()
    assert len(set(sessions)) == 2
    assert stored(path) == {"before": 100, "child": 100, "parent": 100}


def test_a_child_of_multiprocessing_brings_its_records_to_the_store_when_it_ends(path: Path) -> None:
    text = """
import multiprocessing
monitor = made(model_logging={"flush_interval_seconds": 3600})

def work(name):
    for i in range(50):
        if name == "given":
            monitor.log_prediction(i, name, prediction_id=f"g-{i}")
        elif name == "halves":
            monitor.log_model_output(f"h-{i}", name)
        else:
            monitor.log_prediction(i, name)

def label():
    monitor.log_actual("p", 5)

monitor.start()
monitor.log_prediction(0, "parent")
fork = multiprocessing.get_context("fork")
children = [fork.Process(target=work, args=(name,)) for name in ("own", "given", "halves")]
children.append(fork.Process(target=label))
for child in children:
    child.start()
for child in children:
    child.join()
    assert child.exitcode == 0
monitor.stop()
"""
    program(text, path)
    assert stored(path) == {"own": 50, "given": 50, "halves": 50, "parent": 1}
    assert Store(path).counts()["actuals"] == 1


def test_forks_while_other_threads_log_and_write_hang_nobody(path: Path) -> None:
    text = """
monitor = made(model_logging={"flush_interval_seconds": 0.01})
monitor.start()
going = True

def work():
    while going:
        monitor.log_prediction(1, "parent")
        time.sleep(0.0005)

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for turn in range(25):
    child = os.fork()
    if child == 0:
        for i in range(10):
            monitor.log_prediction(i, "child")
        os._exit(0 if monitor.flush(20) else 1)
    ended(child)
going = False
for thread in threads:
    thread.join()
monitor.stop()
"""
    program(text, path)
    assert stored(path)["child"] == 250


def test_a_child_that_exits_while_the_parent_is_in_a_transaction_harms_nothing(path: Path) -> None:
    text = """
from edge_mlops_monitor.records import Prediction
from edge_mlops_monitor.store import Store
store = Store(sys.argv[1])
def some(name):
    return [Prediction(id=f"{name}-{i}", inputs=os.urandom(400), outputs="parent") for i in range(3000)]
with store.transaction() as tx:
    tx.append("predictions", some("a"))
    tx.sql("PRAGMA cache_size = 1")
    tx.append("predictions", some("b"))
    child = os.fork()
    if child == 0:
        sys.exit(0)  # through the end of the interpreter, where objects are destroyed
    ended(child)
    tx.append("predictions", some("c"))
"""
    # In the child the block is left by SystemExit: nothing of the parent's may be touched by that.
    program(text, path)
    assert stored(path) == {"parent": 9000}


def test_workers_of_a_preloaded_application_log_for_themselves(path: Path) -> None:
    text = """
parent = os.getpid()
monitor = made()
monitor.start()

@monitor.watch(model="m")
def predict(x):
    return "worker"

children = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as gunicorn does
        for i in range(25):
            predict(i)
        os.write(1, b"x")
        while os.getppid() == parent:
            time.sleep(0.1)  # again and again: Python hears of a signal just before a sleep only after it
    children.append(child)
sys.stdin.read()
for child in children:
    os.kill(child, signal.SIGTERM)
for child in children:
    ended(child)
monitor.stop()
"""
    with started(MADE + text, path) as process:
        assert process.stdout is not None
        assert process.stdout.read(4) == "xxxx"
        process.communicate("", timeout=200)
    assert process.returncode == 0
    assert stored(path) == {"worker": 100}


def test_a_grandchild_logs_as_well(path: Path) -> None:
    text = """
monitor = made()
child = os.fork()
if child == 0:
    grandchild = os.fork()
    if grandchild == 0:
        monitor.log_prediction(1, "grandchild")
        os._exit(0 if monitor.flush(20) else 1)
    ended(grandchild)
    monitor.log_prediction(1, "child")
    os._exit(0 if monitor.flush(20) else 1)
ended(child)
monitor.log_prediction(1, "parent")
monitor.stop()
"""
    program(text, path)
    assert stored(path) == {"parent": 1, "child": 1, "grandchild": 1}


# - exit -


@pytest.mark.parametrize(
    "end",
    [
        "pass",
        "sys.exit(0)",
        "monitor = None",
        "del monitor; import gc; gc.collect()",
        "threading.Thread(target=lambda: [monitor.log_prediction(1, 'late') for _ in range(3)]).start()",
    ],
)
@pytest.mark.parametrize("begin", ["", "monitor.start()", "monitor.start(); monitor.stop()"])
def test_records_that_wait_are_written_at_the_end_of_the_program(path: Path, begin: str, end: str) -> None:
    text = f"""
monitor = made(model_logging={{"flush_interval_seconds": 3600}})
{begin}
for i in range(20):
    monitor.log_prediction(i, "x")
monitor.log_actual("p", 1)
{end}
"""
    program(text, path)
    assert stored(path)["x"] == 20
    assert stored(path)["late"] == (3 if "late" in end else 0)
    assert Store(path).counts()["actuals"] == 1


def test_nor_are_they_lost_by_an_exception(path: Path) -> None:
    text = "monitor = made()\nmonitor.start()\nmonitor.log_prediction(1, 'x')\nraise RuntimeError\n"
    with started(MADE + "sys.stderr.close()\n" + text, path) as process:
        process.communicate(timeout=200)
    assert process.returncode == 1
    assert stored(path) == {"x": 1}


def test_a_daemon_thread_that_still_logs_does_not_hold_up_the_end(path: Path) -> None:
    text = """
monitor = made()
monitor.start()
logged = 0

def work():
    global logged
    while True:
        monitor.log_prediction(1, "daemon")
        logged += 1
        time.sleep(0.0001)

threading.Thread(target=work, daemon=True).start()
monitor.log_prediction(1, "main")
while logged <= 10:
    time.sleep(0.001)
"""
    program(text, path)
    assert stored(path)["main"] == 1
    assert stored(path)["daemon"] > 10


# - threads and signals -


def test_thousands_of_short_threads_log_each_their_own(path: Path) -> None:
    text = """
monitor = made()
monitor.start()
for turn in range(40):
    threads = [threading.Thread(target=monitor.log_prediction, args=(i, "x")) for i in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
monitor.stop()
"""
    program(text, path)
    assert stored(path) == {"x": 2000}


def test_a_signal_handler_may_log_and_flush(path: Path) -> None:
    text = """
monitor = made(model_logging={"flush_interval_seconds": 0.01}, system={"max_memory_buffer_mb": 1})
monitor.start()
count = 0

def handler(*_):
    global count
    count += 1
    monitor.log_prediction("y" * 3_000, "signal")
    if count % 50 == 0:
        monitor.flush(5)
    signal.setitimer(signal.ITIMER_REAL, 0.001)  # only now, or flushes would nest

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001)
logged = 0
while count < 300 or logged < 300:
    monitor.log_prediction("x" * 3_000, "main")
    logged += 1
    if logged % 100 == 0:
        monitor.flush(5)
signal.signal(signal.SIGALRM, signal.SIG_IGN)
assert monitor.flush(20)
print(logged, count, sum(monitor.get_status()["dropped"].values()))
monitor.stop()
"""
    logged, signals, dropped = map(int, program(text, path).split())
    found = stored(path)
    assert signals >= 300
    assert found["main"] + found["signal"] + dropped == logged + signals


# - asyncio -


def test_an_event_loop_is_needed_by_nothing_and_disturbed_by_nothing(path: Path) -> None:
    text = """
import asyncio

async def main():
    monitor = made()
    monitor.start()
    beats = 0

    async def beat():
        nonlocal beats
        while True:
            await asyncio.sleep(0.001)
            beats += 1

    beating = asyncio.ensure_future(beat())
    await asyncio.gather(*(work(monitor, i) for i in range(100)))
    before = beats
    assert await monitor.aflush(20)
    assert asyncio.all_tasks() == {asyncio.current_task(), beating}
    beating.cancel()
    monitor.stop()

async def work(monitor, i):
    async with monitor.watch() as call:
        call.inputs, call.outputs = i, "x"
        await asyncio.sleep(0)

asyncio.run(main())
"""
    program(text, path)
    assert stored(path) == {"x": 100}
