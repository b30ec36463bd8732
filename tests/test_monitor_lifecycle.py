"""On and off: in any order, from any thread, bounded, and without leaving anything behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from edge_mlops_monitor import EdgeMonitor
from edge_mlops_monitor.config import Config
from edge_mlops_monitor.errors import ConfigError, StoreFullError
from edge_mlops_monitor.runtime import Runtime
from edge_mlops_monitor.store import Store


def made(tmp_path: Path, **more: Any) -> EdgeMonitor:
    return EdgeMonitor(config={"storage": {"sqlite_path": str(tmp_path / "m.db")}, **more})


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[EdgeMonitor]:
    monitor = made(tmp_path)
    yield monitor
    monitor.stop()


before: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def _threads_of_other_tests() -> None:
    before.clear()
    before.update(threading.enumerate())


def threads() -> list[str]:
    """The names of our threads that this test has started."""
    new = (thread for thread in threading.enumerate() if thread not in before)
    return sorted(thread.name for thread in new if thread.name.startswith("edge-monitor"))


def test_construction_starts_nothing_and_opens_nothing(tmp_path: Path) -> None:
    made(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert threads() == []


def test_start_and_stop_are_idempotent_from_many_threads(monitor: EdgeMonitor) -> None:
    def turn() -> None:
        for _ in range(5):
            monitor.start()
            monitor.log_prediction(1, 1)
            monitor.stop()

    many = [threading.Thread(target=turn) for _ in range(6)]
    for thread in many:
        thread.start()
    for thread in many:
        thread.join(60)
    monitor.stop()
    monitor.stop()
    assert threads() == []
    monitor.start()
    monitor.start()
    assert threads().count("edge-monitor-writer") == 1
    assert monitor.flush(20)
    assert monitor.get_status()["prediction_count"] == 30
    monitor.stop()
    assert threads() == []


def test_logging_before_start_and_after_stop_is_kept(tmp_path: Path) -> None:
    monitor = made(tmp_path)
    monitor.log_prediction(1, "before")
    monitor.start()
    monitor.log_prediction(2, "during")
    monitor.stop()
    monitor.log_prediction(3, "after")
    monitor.start()
    monitor.stop()
    assert [one.outputs for one in monitor.predictions()] == ["after", "during", "before"]
    monitor.stop()


def test_parts_are_turned_on_and_off_one_by_one(monitor: EdgeMonitor) -> None:
    monitor.start_system_monitoring()
    assert monitor.get_status()["running"] == ["system"]
    monitor.start_telemetry_upload()
    monitor.stop_system_monitoring()
    assert "system" not in monitor.get_status()["running"]
    monitor.stop_telemetry_upload()
    assert monitor.flush(20)


def test_flush_while_another_thread_stops_ends(monitor: EdgeMonitor) -> None:
    for _ in range(30):
        monitor.start()
        stopping = threading.Thread(target=monitor.stop)
        stopping.start()
        monitor.log_prediction(1, 1)
        assert monitor.flush(20)
        stopping.join(60)
    assert monitor.get_status()["prediction_count"] == 30


def test_a_flush_with_no_time_left_says_so_and_loses_nothing(monitor: EdgeMonitor) -> None:
    for i in range(20_000):
        monitor.log_prediction({"i": i}, 1)
    assert monitor.flush(0) in (False, True)
    assert monitor.flush()
    assert monitor.get_status()["prediction_count"] == 20_000


def test_threads_that_wait_for_one_that_cannot_open_the_database_do_not_try_again_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Runtime(Config.from_dict({"storage": {"sqlite_path": str(tmp_path / "m.db")}}))
    waiting, attempts, lock = threading.Semaphore(0), [], threading.Lock()

    class Watched:
        def __enter__(self) -> None:
            waiting.release()
            lock.acquire()

        def __exit__(self, *error: object) -> None:
            lock.release()

    def in_vain() -> Store:
        for _ in range(4):
            assert waiting.acquire(timeout=60)
        attempts.append(1)
        raise StoreFullError("no space")

    monkeypatch.setattr(one, "_opening", Watched())
    monkeypatch.setattr(one, "_open", in_vain)
    with ThreadPoolExecutor(4) as pool:
        for asked in [pool.submit(one.open_store) for _ in range(4)]:
            with pytest.raises(StoreFullError, match="no space"):
                asked.result(60)
    assert len(attempts) == 1


@pytest.mark.parametrize("how", ["environment", "config"])
def test_the_kill_switch_turns_everything_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "environment":
        monkeypatch.setenv("EDGE_MLOPS_MONITOR_DISABLED", "1")
    monitor = made(tmp_path, **({"enabled": False} if how == "config" else {}))
    with monitor:
        ids = {monitor.log_prediction({"a": i}, i) for i in range(10)}
        assert len(ids) == 10
        assert monitor.log_prediction(1, 1, prediction_id="p") == "p"
        assert len(monitor.log_predictions([1, 2], [3, 4])) == 2
        assert monitor.log_model_output(monitor.log_model_input(1), 2)
        monitor.log_actual("p", 1)

        @monitor.watch()
        def predict(x: int) -> int:
            return x + 1

        assert predict(1) == 2
        with monitor.watch() as call:
            call.inputs = 1
        assert call.prediction_id
        assert monitor.flush()
        assert list(monitor.predictions()) == list(monitor.events()) == []
        assert monitor.check_drift() == []
        monitor.set_reference_data("x", [1.0])
        monitor.rebaseline()
        monitor.on_event(print)
        assert monitor.purge(prediction_id="p") == {}
        monitor.create_telemetry_batch()
        assert monitor.get_status()["enabled"] is False
    assert list(tmp_path.iterdir()) == []
    assert threads() == []


def test_a_mistake_in_the_config_is_said_at_construction(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sinks"):
        made(tmp_path, sinks={"x": {"type": "nonsense"}})
    with pytest.raises(FileNotFoundError):
        EdgeMonitor(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match="device_id"):
        EdgeMonitor(config={}, device_id="not valid")


def test_the_status_never_raises_and_has_its_keys(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    broken = EdgeMonitor(config={"storage": {"sqlite_path": str(tmp_path / "file" / "m.db")}})
    for monitor in (made(tmp_path), broken):
        status = monitor.get_status()
        for key in (
            "system_metrics_count",
            "pending_telemetry_batches",
            "prediction_count",
            "drift_results_count",
            "dropped",
            "last_upload",
            "last_error",
        ):
            assert key in status
        monitor.stop()


def test_readers_take_times_of_all_kinds(monitor: EdgeMonitor) -> None:
    from datetime import datetime, timezone

    for i in range(10):
        monitor.log_prediction(i, i, timestamp=1000.0 + i, source="a" if i % 2 else "b", model="m")
    assert monitor.flush(20)

    def read(**conditions: Any) -> list[Any]:
        return [one.inputs for one in monitor.predictions(**conditions)]

    assert read(since=1007) == [9, 8, 7]
    assert read(since=datetime.fromtimestamp(1008, timezone.utc)) == [9, 8]
    assert read(until="1970-01-01T00:16:41Z") == [1, 0]
    assert read(since="1h") == []
    assert read(source="a", limit=2) == [9, 7]
    assert read(model="other") == []
    with pytest.raises(ValueError, match="is no time"):
        read(since="yesterday")
    assert next(monitor.predictions()).to_dict()["inputs"] == 9


def test_everything_is_off_in_a_child_until_it_logs(monitor: EdgeMonitor) -> None:
    import warnings

    monitor.start()
    monitor.log_prediction(1, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads
        child = os.fork()
    if child == 0:
        os._exit(1 if monitor.get_status()["running"] or monitor._runtime.recorder.buffered else 0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
