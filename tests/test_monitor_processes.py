"""Several processes with a monitor each on one database: one samples, one decides, and another takes over."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from edge_mlops_monitor import EdgeMonitor, leases
from edge_mlops_monitor.records import Event
from edge_mlops_monitor.status import read_status
from edge_mlops_monitor.store import Store
from programs import kill, started, until

RUNS = """
import os, sys, time
from edge_mlops_monitor import EdgeMonitor
config = {
    "storage": {"sqlite_path": sys.argv[1]},
    "system": {"sampling_interval_seconds": 0.1},
    "model_logging": {"flush_interval_seconds": 0.05},
    "telemetry": {"upload_interval_seconds": 0.2},
    "drift_detection": {"learn_reference": 20, "learn_reference_hours": 0},
    "sinks": {"folder": {"type": "file", "path": sys.argv[2]}},
}

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # whole: another thread may print in a print()

monitor = EdgeMonitor(config=config)
monitor.on_event(lambda event: say("event", event.id), "info")
monitor.start()
say("began")
number = 0
while True:
    for _ in range(20):
        monitor.log_prediction({"x": float(number % 7)}, 1.0, prediction_id=f"{sys.argv[3]}-{number}")
        number += 1
    if monitor.flush():
        say("sure", number)
    time.sleep(0.02)
"""
Process = subprocess.Popen[str]
TASKS = ("decide", "system", "upload")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.db"


@pytest.fixture
def runs(path: Path, tmp_path: Path) -> Iterator[Callable[[str], Process]]:
    with ExitStack() as stack:

        def begin(name: str) -> Process:
            process = stack.enter_context(started(RUNS, path, tmp_path / "bucket", name))
            assert process.stdout is not None
            assert process.stdout.readline() == "began\n"
            return process

        yield begin


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Looks again and again; what is waited for is done by other processes."""
    ends = time.monotonic() + 100
    while not (answer := condition()):
        assert time.monotonic() < ends, f"never: {what}"
        time.sleep(0.02)
    return answer


def test_each_task_has_one_holder_and_another_takes_over_when_it_is_killed(
    path: Path, runs: Callable[[str], Process]
) -> None:
    processes = {process.pid: process for process in map(runs, "abc")}
    store = Store(path, create=False)

    def all_held() -> dict[str, int]:
        """The holder of every task, once each is held by a process that lives."""
        held = leases.holders(store)
        return held if set(held) == set(TASKS) and set(held.values()) <= set(processes) else {}

    for task in TASKS[:2]:  # one process may hold all tasks, or each of them another
        held = wait_for(all_held, "every task has a holder")
        last = store.query("SELECT max(key) FROM system")[0][0] or 0
        wait_for(lambda last=last: len(store.blocks("system", last)) >= 4, "samples go on")
        kill(processes.pop(held[task]))
    assert set(wait_for(all_held, "the last one holds everything").values()) == set(processes)
    store.close()


def test_one_process_samples_the_device_and_each_measures_itself(
    path: Path, runs: Callable[[str], Process]
) -> None:
    for name in "ab":
        runs(name)
    store = Store(path, create=False)

    def device_samples() -> list[float]:
        return [one.ts for one in store.newest("system") if getattr(one, "name", "") == "system.uptime"]

    wait_for(lambda: len(device_samples()) >= 12, "samples")
    times = sorted(device_samples())
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert sum(gap < 0.05 for gap in gaps) <= len(gaps) // 4, "two sample the same device"

    def owners() -> set[Any]:
        return {
            one.attributes.get("process.pid")  # type: ignore[attr-defined]
            for one in store.newest("system")
            if getattr(one, "name", "").startswith("process.")
        }

    wait_for(lambda: len(owners()) == 2, "each measures itself")
    store.close()


def test_every_callback_is_called_once_for_each_event(path: Path, runs: Callable[[str], Process]) -> None:
    processes = [runs("a"), runs("b")]
    store = Store(path, create=False)
    ids = []
    for i in range(5):
        with store.transaction() as tx:
            ids.append(tx.event("test", "warning", f"number {i}").id)
    last = store.blocks("predictions")[-1].key
    wait_for(lambda: len(store.blocks("predictions", last)) >= 16, "some more commits")
    for process in processes:
        lines = until(process, f"event {ids[-1]}") + kill(process)
        printed = [line.split()[1] for line in lines.splitlines() if line.startswith("event ")]
        assert [id for id in printed if id in ids] == ids
        assert len(set(printed)) == len(printed)
    store.close()


def test_everything_is_delivered_once_whoever_uploads(path: Path, runs: Callable[[str], Process]) -> None:
    import json
    import zlib

    processes = [runs(name) for name in "ab"]
    folder = path.parent / "bucket"
    wait_for(lambda: len(list(folder.rglob("kind=predictions/**/*.gz"))) >= 3, "uploads")
    held = leases.holders(Store(path, create=False))
    first = next(process for process in processes if process.pid == held["upload"])
    sure = {("a", "b")[processes.index(first)]: confirmed(kill(first))}
    count = len(list(folder.rglob("kind=predictions/**/*.gz")))
    wait_for(lambda: len(list(folder.rglob("kind=predictions/**/*.gz"))) > count + 1, "taken over")
    other = next(process for process in processes if process is not first)
    sure[("a", "b")[processes.index(other)]] = confirmed(kill(other))
    config = {
        "storage": {"sqlite_path": str(path)},
        "sinks": {"folder": {"type": "file", "path": str(folder)}},
    }
    monitor = EdgeMonitor(config=config)
    assert monitor.upload_now()["pending"] == 0
    monitor.stop()
    rows = [
        json.loads(line)
        for file in folder.rglob("kind=predictions/**/*.gz")
        for line in zlib.decompress(file.read_bytes(), 31).splitlines()
    ]
    assert sorted(row["seq"] for row in rows) == list(range(1, len(rows) + 1))
    ids = [row["id"] for row in rows]
    assert len(set(ids)) == len(ids)
    assert {f"{name}-{i}" for name, number in sure.items() for i in range(number)} <= set(ids)


def confirmed(printed: str) -> int:
    return max(int(line.split()[1]) for line in printed.splitlines() if line.startswith("sure "))


def test_status_is_the_same_from_outside(path: Path, runs: Callable[[str], Process]) -> None:
    process = runs("a")
    store = Store(path, create=False)
    wait_for(lambda: "upload" in leases.holders(store) and store.counts()["predictions"] > 100, "work")
    from edge_mlops_monitor import load_config

    config = load_config(None)
    import msgspec

    config = msgspec.structs.replace(
        config, storage=msgspec.structs.replace(config.storage, sqlite_path=str(path))
    )
    status = read_status(config)
    assert status["prediction_count"] > 100
    assert set(status["processes"].values()) == {process.pid}
    kill(process)
    assert read_status(config)["processes"] == {}
    assert isinstance(next(store.newest("events")), Event)
    store.close()
