"""The logging calls: ids, halves, tables, timestamps, before start and after stop."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_mlops_monitor import EdgeMonitor
from edge_mlops_monitor.capture.recorder import Recorder
from edge_mlops_monitor.clock import ManualClock
from edge_mlops_monitor.records import Prediction
from edge_mlops_monitor.store import Store


def settings(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {"storage": {"sqlite_path": str(tmp_path / "m.db")}, **more}


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[EdgeMonitor]:
    monitor = EdgeMonitor(config=settings(tmp_path))
    yield monitor
    monitor.stop()


def stored(monitor: EdgeMonitor) -> dict[str, Prediction]:
    """What is stored, by id; oldest first."""
    assert monitor.flush()
    found = list(monitor.predictions())[::-1]
    by_id = {one.id: one for one in found}
    assert len(by_id) == len(found), "no id is stored twice"
    return by_id


# - ids -


def test_every_prediction_gets_an_id_of_its_own(monitor: EdgeMonitor) -> None:
    ids = [monitor.log_prediction({"a": i}, i) for i in range(2500)]
    assert len(set(ids)) == 2500
    assert list(stored(monitor)) == ids


def test_two_monitors_never_give_the_same_id(tmp_path: Path) -> None:
    one, two = (EdgeMonitor(config=settings(tmp_path)) for _ in range(2))
    assert {one.log_prediction(1, 1) for _ in range(100)}.isdisjoint(
        two.log_prediction(1, 1) for _ in range(100)
    )
    one.stop()
    two.stop()


def test_the_callers_id_is_kept(monitor: EdgeMonitor) -> None:
    assert monitor.log_prediction(1, 1, prediction_id="order-5") == "order-5"
    assert monitor.log_prediction(1, 1, prediction_id="ä" * 50) == "ä" * 50
    assert monitor.log_prediction(1, 1, prediction_id=7) == "7"  # type: ignore[arg-type]
    assert list(stored(monitor)) == ["order-5", "ä" * 50, "7"]


def test_an_id_given_twice_means_one_prediction_and_the_later_wins(monitor: EdgeMonitor) -> None:
    for turn in range(3):
        monitor.log_prediction({"turn": turn}, 1, prediction_id="p")
        monitor.log_prediction({"turn": turn}, 1)
    assert stored(monitor)["p"].inputs == {"turn": 2}
    assert monitor.get_status()["dropped"] == {"duplicate_id": 2}
    assert monitor.get_status()["prediction_count"] == 4


def test_an_id_given_again_after_a_flush_replaces_the_stored_one(monitor: EdgeMonitor) -> None:
    for i in range(600):
        monitor.log_prediction({"turn": 1}, i, prediction_id=f"p-{i}")
    assert monitor.flush()
    for i in range(0, 600, 3):
        monitor.log_prediction({"turn": 2}, i, prediction_id=f"p-{i}")
    found = stored(monitor)
    assert len(found) == 600
    assert all(found[f"p-{i}"].inputs == {"turn": 2 if i % 3 == 0 else 1} for i in range(600))
    assert {found[f"p-{i}"].outputs for i in range(600)} == set(range(600))
    assert monitor.get_status()["dropped"] == {"duplicate_id": 200}
    assert monitor.get_status()["prediction_count"] == 600


def test_an_id_of_ours_given_back_replaces_as_well(monitor: EdgeMonitor) -> None:
    id = monitor.log_prediction({"turn": 1}, 1)
    assert monitor.flush()
    monitor.log_prediction({"turn": 2}, 1, prediction_id=id)
    assert stored(monitor)[id].inputs == {"turn": 2}


def test_ids_given_twice_by_threads_while_the_writer_writes_are_stored_once(tmp_path: Path) -> None:
    monitor = EdgeMonitor(config=settings(tmp_path, model_logging={"flush_interval_seconds": 0.01}))
    monitor.start()

    def log(name: str) -> None:
        for i in range(400):
            monitor.log_prediction({"i": i}, 1, prediction_id=f"{name}-{i}")
            monitor.log_prediction({"i": i}, 2, prediction_id=f"{name}-{i}")

    threads = [threading.Thread(target=log, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = stored(monitor)
    assert len(found) == 1200
    assert {one.outputs for one in found.values()} == {2}
    monitor.stop()


# - halves -


def test_halves_are_joined_by_id_with_their_latency(tmp_path: Path) -> None:
    clock = ManualClock(time=1000.0)
    store = Store(tmp_path / "m.db")
    recorder = Recorder(lambda: store, clock=clock)
    ids = [recorder.log_input({"a": i}) for i in range(3)]
    clock.advance(0.25)
    assert [recorder.log_output(id, {"b": i}) for i, id in enumerate(ids)] == ids
    assert recorder.write()
    found = list(store.newest("predictions"))[::-1]
    assert [(one.ts, one.id, one.inputs, one.outputs, one.latency_seconds) for one in found] == [  # type: ignore[attr-defined]
        (1000.0, id, {"a": i}, {"b": i}, 0.25) for i, id in enumerate(ids)
    ]
    assert store.losses() == {}


def test_a_half_that_stays_alone_is_kept_after_a_minute(tmp_path: Path) -> None:
    clock = ManualClock()
    store = Store(tmp_path / "m.db")
    recorder = Recorder(lambda: store, clock=clock)
    id = recorder.log_input({"a": 1})
    clock.advance(59)
    assert recorder.write()
    assert list(store.newest("predictions")) == []
    clock.advance(2)
    assert recorder.write()
    (one,) = store.newest("predictions")
    assert isinstance(one, Prediction)
    assert (one.id, one.inputs, one.outputs) == (id, {"a": 1}, None)
    clock.advance(3600)
    assert recorder.write()
    assert len(recorder.halves) == 0
    assert store.counts()["predictions"] == 1


def test_an_output_that_comes_after_its_input_was_flushed_completes_it(monitor: EdgeMonitor) -> None:
    id = monitor.log_model_input({"a": 1})
    assert stored(monitor)[id].outputs is None
    monitor.log_model_output(id, {"b": 2})
    one = stored(monitor)[id]
    assert (one.inputs, one.outputs) == ({"a": 1}, {"b": 2})
    assert one.latency_seconds is not None
    assert monitor.get_status()["dropped"] == {}


def test_an_output_that_comes_after_a_restart_completes_its_input(tmp_path: Path) -> None:
    first = EdgeMonitor(config=settings(tmp_path))
    id = first.log_model_input({"a": 1})
    first.stop()
    second = EdgeMonitor(config=settings(tmp_path))
    second.log_model_output(id, {"b": 2})
    one = stored(second)[id]
    assert (one.inputs, one.outputs) == ({"a": 1}, {"b": 2})
    assert one.latency_seconds is not None
    second.stop()


def test_an_output_without_an_input_is_kept(monitor: EdgeMonitor) -> None:
    assert monitor.log_model_output("unknown", {"b": 2}) == "unknown"
    one = stored(monitor)["unknown"]
    assert (one.inputs, one.outputs) == (None, {"b": 2})


def test_a_second_output_replaces_the_first_and_keeps_the_input(monitor: EdgeMonitor) -> None:
    id = monitor.log_model_input({"a": 1})
    monitor.log_model_output(id, {"b": 2})
    assert monitor.flush()
    monitor.log_model_output(id, {"b": 3})
    one = stored(monitor)[id]
    assert (one.inputs, one.outputs) == ({"a": 1}, {"b": 3})
    assert monitor.get_status()["dropped"] == {"duplicate_id": 1}


def test_inputs_that_wait_are_bounded_in_memory(tmp_path: Path) -> None:
    store = Store(tmp_path / "m.db")
    recorder = Recorder(lambda: store, max_bytes=1 << 20)
    for _ in range(2000):
        recorder.log_input({"text": "x" * 2000})
    recorder.write()
    assert recorder.halves.bytes <= 1 << 20
    recorder.flush()
    assert store.counts()["predictions"] == 2000
    recorder.worker.stop()


# - tables -

ROWS = [{"a": 1.0, "b": 10.0}, {"a": 2.0, "b": 20.0}, {"a": 3.0, "b": 30.0}]


def table(name: str) -> tuple[Any, list[Any]]:
    """A table of this sort, and the inputs of its rows."""
    columns = {key: [row[key] for row in ROWS] for key in ("a", "b")}
    lists = [[row["a"], row["b"]] for row in ROWS]
    if name == "pandas":
        return pytest.importorskip("pandas").DataFrame(columns), ROWS
    if name == "polars":
        return pytest.importorskip("polars").DataFrame(columns), ROWS
    if name == "arrow table":
        return pytest.importorskip("pyarrow").table(columns), ROWS
    if name == "arrow batch":
        return pytest.importorskip("pyarrow").RecordBatch.from_pydict(columns), ROWS
    return {
        "dict of lists": (columns, ROWS),
        "dict of arrays": ({key: np.array(column) for key, column in columns.items()}, ROWS),
        "list of dicts": (ROWS, ROWS),
        "tuple of dicts": (tuple(ROWS), ROWS),
        "list of lists": (lists, lists),
        "2-D array": (np.array(lists), lists),
        "1-D array": (np.array([1.0, 2.0, 3.0]), [1.0, 2.0, 3.0]),
        "integers": (np.array([1, 2, 3]), [1, 2, 3]),
        "list": ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]),
        "texts": (["a", "b", "c"], ["a", "b", "c"]),
        "nothing": (None, [None] * 3),
    }[name]


@pytest.mark.parametrize("name", ["pandas", "polars", "arrow table", "arrow batch", "dict of lists"])
def test_log_predictions_takes_frames(monitor: EdgeMonitor, name: str) -> None:
    check_table(monitor, name)


@pytest.mark.parametrize(
    "name",
    [
        "dict of arrays",
        "list of dicts",
        "tuple of dicts",
        "list of lists",
        "2-D array",
        "1-D array",
        "integers",
        "list",
        "texts",
        "nothing",
    ],
)
def test_log_predictions_takes_rows_along_axis_0(monitor: EdgeMonitor, name: str) -> None:
    check_table(monitor, name)


def check_table(monitor: EdgeMonitor, name: str) -> None:
    inputs, expected = table(name)
    ids = monitor.log_predictions(inputs, [0.1, 0.2, 0.3], model="m", source="s", tags={"t": 1})
    found = stored(monitor)
    assert list(found) == ids
    assert [one.inputs for one in found.values()] == expected
    assert [one.outputs for one in found.values()] == [0.1, 0.2, 0.3]
    assert {(one.model, one.source, repr(one.tags)) for one in found.values()} == {("m", "s", "{'t': 1}")}
    assert monitor.get_status()["dropped"] == {}


def test_log_predictions_of_wide_arrays_summarises_each_row(monitor: EdgeMonitor) -> None:
    monitor.log_predictions(np.arange(600.0).reshape(3, 200), np.zeros((3, 2)))
    found = list(stored(monitor).values())
    assert [one.inputs["mean"] for one in found] == [99.5, 299.5, 499.5]
    assert [one.inputs["shape"] for one in found] == [[200]] * 3
    assert [one.outputs for one in found] == [[0.0, 0.0]] * 3


def test_log_predictions_takes_ids_latencies_and_times_for_each_or_for_all(monitor: EdgeMonitor) -> None:
    ids = monitor.log_predictions(
        [1, 2], [3, 4], prediction_ids=["a", "b"], latency_seconds=np.array([0.5, 0.25]), timestamp=[10, 20]
    )
    assert ids == ["a", "b"]
    monitor.log_predictions([1, 2], [3, 4], prediction_ids=["c", "d"], latency_seconds=1.0, timestamp=30.0)
    assert [(one.latency_seconds, one.ts) for one in stored(monitor).values()] == [
        (0.5, 10.0),
        (0.25, 20.0),
        (1.0, 30.0),
        (1.0, 30.0),
    ]


def test_log_predictions_of_nothing_records_nothing(monitor: EdgeMonitor) -> None:
    assert monitor.log_predictions([], []) == []
    assert monitor.log_predictions(np.zeros((0, 5)), None) == []
    assert monitor.log_predictions({}, {}) == []
    assert stored(monitor) == {}


def test_rows_that_do_not_match_are_kept_as_one_and_counted(monitor: EdgeMonitor) -> None:
    (id,) = monitor.log_predictions([1, 2, 3], [1, 2])
    assert stored(monitor)[id].inputs == [1, 2, 3]
    assert monitor.get_status()["dropped"] == {"not_rows": 1}


def test_an_iterator_is_not_used_up(monitor: EdgeMonitor) -> None:
    rows = iter([1, 2, 3])
    monitor.log_predictions(rows, [1, 2, 3])
    monitor.log_prediction(rows, rows)
    assert list(rows) == [1, 2, 3]


# - timestamps -

MOMENT = 1_760_000_000.25


@pytest.mark.parametrize(
    "given",
    [
        MOMENT,
        np.float64(MOMENT),
        datetime.fromtimestamp(MOMENT, timezone.utc),
        datetime.fromtimestamp(MOMENT, timezone(timedelta(hours=5))),
        datetime.fromtimestamp(MOMENT),
        np.datetime64(int(MOMENT * 1000), "ms"),
        np.datetime64(int(MOMENT * 4) * 250_000_000, "ns"),
        datetime.fromtimestamp(MOMENT, timezone.utc).isoformat(),
    ],
    ids=["float", "numpy", "UTC", "zone", "naive", "datetime64[ms]", "datetime64[ns]", "ISO 8601"],
)
def test_timestamps_of_all_kinds(monitor: EdgeMonitor, given: Any) -> None:
    monitor.log_prediction(1, 1, timestamp=given)
    monitor.log_predictions([1, 2], [1, 2], timestamp=[given, given])
    monitor.log_actual("p", 1, timestamp=given)
    assert [one.ts for one in stored(monitor).values()] == [MOMENT] * 3
    assert [one.ts for one in monitor.actuals()] == [MOMENT]
    assert monitor.get_status()["dropped"] == {}


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_arrays_of_times(monitor: EdgeMonitor, unit: str) -> None:
    times = np.array([1000, 2000], dtype="datetime64[s]").astype(f"datetime64[{unit}]")
    monitor.log_predictions([1, 2], [1, 2], timestamp=times)
    assert [one.ts for one in stored(monitor).values()] == [1000.0, 2000.0]


@pytest.mark.parametrize(
    "given", ["soon", float("nan"), float("inf"), object(), np.datetime64("NaT", "s"), []]
)
def test_a_timestamp_that_cannot_be_read_is_now_and_counted(monitor: EdgeMonitor, given: Any) -> None:
    before = datetime.now().timestamp()
    monitor.log_prediction(1, 1, timestamp=given)
    (one,) = stored(monitor).values()
    assert before <= one.ts <= datetime.now().timestamp()
    assert monitor.get_status()["dropped"] == {"timestamp_unreadable": 1}


# - labels -


def test_labels_are_kept_also_for_predictions_that_are_unknown(monitor: EdgeMonitor) -> None:
    id = monitor.log_prediction(1, 1)
    monitor.log_actual(id, "cat")
    monitor.log_actual("elsewhere", {"boxes": np.ones((2, 2))})
    assert monitor.flush()
    assert [(one.prediction_id, one.actual) for one in monitor.actuals()] == [
        ("elsewhere", {"boxes": [[1.0, 1.0], [1.0, 1.0]]}),
        (id, "cat"),
    ]


def test_labels_that_wait_are_bounded_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    config = settings(tmp_path, system={"max_memory_buffer_mb": 1})
    config["storage"]["sqlite_path"] = str(tmp_path / "file" / "m.db")
    monitor = EdgeMonitor(config=config)
    for i in range(30_000):
        monitor.log_actual(f"p-{i}", i)
    assert not monitor.flush(5)
    assert monitor.get_status()["dropped"] == {"memory_full": 10_000}
    (tmp_path / "file").unlink()
    assert monitor.flush()
    kept = [one.prediction_id for one in monitor.actuals()]
    assert kept == [f"p-{29_999 - i}" for i in range(20_000)], "the newest are kept"
    monitor.stop()


# - a database that cannot be opened -


def test_without_a_database_everything_waits_and_is_written_when_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    config = settings(tmp_path)
    config["storage"]["sqlite_path"] = str(tmp_path / "file" / "m.db")
    monitor = EdgeMonitor(config=config)
    ids = [monitor.log_prediction({"a": i}, i) for i in range(100)]
    assert not monitor.flush(10)
    status = monitor.get_status()
    assert "set storage.sqlite_path" in status["last_error"]
    assert status["prediction_count"] == status["buffered"] == 100
    assert status["database"]["exists"] is False
    (tmp_path / "file").unlink()
    assert list(stored(monitor)) == ids
    assert monitor.get_status()["last_error"] is None
    monitor.stop()


def test_the_memory_is_bounded_while_there_is_no_database_and_what_goes_is_counted(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    config = settings(tmp_path, system={"max_memory_buffer_mb": 1})
    config["storage"]["sqlite_path"] = str(tmp_path / "file" / "m.db")
    monitor = EdgeMonitor(config=config)
    ids = [monitor.log_prediction({"text": "x" * 1000}, 1) for _ in range(3000)]
    assert not monitor.flush(10)
    (tmp_path / "file").unlink()
    found = list(stored(monitor))
    assert found == ids[-len(found) :], "the newest are kept"
    assert 800 < len(found) < 1000
    assert monitor.get_status()["dropped"] == {"memory_full": 3000 - len(found)}
    event = next(event for event in monitor.events() if event.type == "loss")
    assert event.data["memory_full"] == 3000 - len(found)
    monitor.stop()


def test_what_goes_wrong_in_a_write_is_answered_and_loses_nothing(tmp_path: Path) -> None:
    faults = [RuntimeError("nobody thought of this")]

    def open_store() -> Store:
        if faults:
            raise faults.pop()
        return Store(tmp_path / "m.db")

    recorder = Recorder(open_store, flush_interval=3600.0)
    recorder.log_prediction(1, "kept")
    recorder.worker.start = no_thread  # type: ignore[method-assign]
    assert not recorder.flush()
    assert recorder.last_error == "nobody thought of this"
    assert recorder.flush()
    assert [one.outputs for one in Store(tmp_path / "m.db").newest("predictions")] == ["kept"]


def no_thread() -> None:
    raise RuntimeError("the interpreter is shutting down")
