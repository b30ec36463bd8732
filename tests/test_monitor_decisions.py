"""The decider inside the monitor: restarts change nothing, orders reach it, alarms are told once."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edge_mlops_monitor import EdgeMonitor, leases
from edge_mlops_monitor.blocks import Block
from edge_mlops_monitor.clock import ManualClock
from edge_mlops_monitor.decider import Decider
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.errors import DataError, StoreError
from edge_mlops_monitor.records import DriftResult, Event, Prediction
from edge_mlops_monitor.store import Store
from programs import started

LEARNS = {"learn_reference": 200, "learn_reference_hours": 0}
FLUSHES = {"flush_interval_seconds": 0.01}


def values(count: int, shift_at: int, shift: float = 3.0, seed: int = 1) -> list[float]:
    """Normal values that shift by so many standard deviations."""
    draw = random.Random(seed).gauss
    return [draw(0, 1) + (shift if i >= shift_at else 0) for i in range(count)]


def made(tmp_path: Path, **drift: Any) -> EdgeMonitor:
    config = {
        "storage": {"sqlite_path": str(tmp_path / "m.db")},
        "model_logging": FLUSHES,
        "drift_detection": {**LEARNS, **drift},
    }
    return EdgeMonitor(config=config)


def log(monitor: EdgeMonitor, xs: list[float], begin: int = 0) -> None:
    for i, x in enumerate(xs):
        monitor.log_prediction({"x": x}, None, model="m", timestamp=1e9 + begin + i)
    assert monitor.flush()


def told(monitor: EdgeMonitor, type: str) -> list[Event]:
    return [event for event in list(monitor.events())[::-1] if event.type == type]


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[EdgeMonitor]:
    monitor = made(tmp_path)
    yield monitor
    monitor.stop()


# - restarts -


def decide(path: Path, xs: list[float], block: int, restart: Any) -> list[dict[str, Any]]:
    """The findings of a decider over these values, which is thrown away where `restart(block)` says so."""
    clock = ManualClock()
    store = Store(path, clock=clock)
    store.query("PRAGMA synchronous = OFF")
    settings = Settings(learn_reference=200, learn_reference_hours=0)
    decider = Decider(lambda: store, settings, clock=clock)
    for number, first in enumerate(range(0, len(xs), block)):
        part = xs[first : first + block]
        with store.transaction() as tx:
            rows = [Prediction(ts=1e9 + first + i, inputs={"x": x}, model="m") for i, x in enumerate(part)]
            tx.append("predictions", rows)
        clock.advance(7)
        how = restart(number)
        if how == "before":  # killed with the last block stored and not decided
            decider = Decider(lambda: store, settings, clock=clock)
        decider.step(clock.monotonic())
        if how == "close":
            decider.close()
        if how in ("close", "after"):
            decider = Decider(lambda: store, settings, clock=clock)
    decider.step(clock.monotonic())
    found = [*list(store.newest("events"))[::-1], *list(store.newest("drift"))[::-1]]
    store.close()
    return [stripped(one) for one in found if not isinstance(one, Event) or one.type != "generation"]


def stripped(one: Any) -> dict[str, Any]:
    said: dict[str, Any] = one.to_dict()
    for name in ("id", "seq", "generation", "boot_id", "clock_synced", "device_id"):
        said.pop(name, None)
    return said


def test_restarts_of_all_sorts_change_no_finding(tmp_path: Path) -> None:
    xs = [*values(1500, 900), *values(800, 0, 0.0, seed=2)]
    expected = decide(tmp_path / "whole.db", xs, 25, lambda number: "")
    assert any(one.get("severity") == "alarm" for one in expected), "there is something to find"
    chance = random.Random(3)
    for how in ("close", "after", "before", "mixed"):
        options = ["close", "after", "before"] if how == "mixed" else [how]

        def restart(number: int, options: list[str] = options) -> str:
            return chance.choice(options) if chance.random() < 0.3 else ""

        assert decide(tmp_path / f"{how}.db", xs, 25, restart) == expected, how


DECIDES = """
    import sys, time
    from edge_mlops_monitor import EdgeMonitor
    config = {
        "storage": {"sqlite_path": sys.argv[1]},
        "model_logging": {"flush_interval_seconds": 0.01},
        "drift_detection": {"learn_reference": 200, "learn_reference_hours": 0},
    }
    monitor = EdgeMonitor(config=config)
    print("began", flush=True)
    for line in sys.stdin:
        moment, x = line.split()
        monitor.log_prediction({"x": float(x)}, None, model="m", timestamp=1e9 + float(moment))
        if moment.endswith("9"):
            assert monitor.flush()
        if moment.endswith("99"):
            monitor._runtime.decider.step(time.monotonic())
            print("decided", flush=True)
"""


def test_no_alarm_is_raised_twice_after_kills(tmp_path: Path) -> None:
    xs = values(1200, 600)
    for first in range(0, len(xs), 300):
        with started(DECIDES, tmp_path / "m.db") as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "began\n"
            process.stdin.writelines(f"{first + i} {x}\n" for i, x in enumerate(xs[first : first + 300]))
            process.stdin.flush()
            for _ in range(3):
                assert process.stdout.readline() == "decided\n"
    monitor = made(tmp_path)
    monitor.check_drift()
    alarms = [event for event in monitor.events() if event.severity == "alarm"]
    assert [event.data["feature"] for event in alarms] == ["inputs.x"]
    assert monitor.get_status()["prediction_count"] == 1200
    monitor.stop()


# - alarms and callbacks -


def test_an_alarm_calls_back_once_and_so_does_the_recovery(tmp_path: Path) -> None:
    monitor = made(tmp_path)
    heard: list[Event] = []
    quiet: list[Event] = []
    monitor.on_event(heard.append, "info")
    monitor.on_event(quiet.append, "critical")

    def failing(event: Event) -> None:
        raise RuntimeError("in the callback")

    monitor.on_event(failing)
    with monitor:
        log(monitor, values(1000, 600))
    stored = list(monitor.events())[::-1]
    assert [event.id for event in heard] == [event.id for event in stored if event.type != "generation"]
    (alarm,) = [event for event in heard if event.severity == "alarm"]
    assert (alarm.data["feature"], alarm.data["model"]) == ("inputs.x", "m")
    assert quiet == []
    monitor.stop()


def test_an_unknown_severity_is_refused(monitor: EdgeMonitor) -> None:
    with pytest.raises(ValueError, match="unknown severity 'loud'; known: info, warning"):
        monitor.on_event(print, "loud")


# - orders -


def state(monitor: EdgeMonitor, feature: str = "inputs.x") -> dict[str, Any]:
    monitor.check_drift()
    (row,) = [row for row in monitor.get_status()["features"] if row["feature"] == feature]
    return row


def test_a_rebaseline_learns_anew_and_ends_the_alarm(monitor: EdgeMonitor) -> None:
    log(monitor, values(1000, 600))
    assert state(monitor)["state"] == "alarm"
    monitor.rebaseline(feature="inputs.x")
    monitor.check_drift()
    assert monitor.get_status()["features"] == [], "nothing is known of what comes from now on"
    log(monitor, values(50, 0), begin=1000)
    assert state(monitor)["state"] == "learning"
    log(monitor, values(1500, 0), begin=1050)
    assert state(monitor)["state"] == "fine"
    assert len([event for event in monitor.events() if event.severity == "alarm"]) == 1


def test_an_acknowledged_alarm_stays_open_and_is_noted(monitor: EdgeMonitor) -> None:
    log(monitor, values(1000, 600))
    monitor.check_drift()
    (alarm,) = [event for event in monitor.events() if event.severity == "alarm"]
    monitor.acknowledge(alarm.id)
    assert state(monitor)["state"] == "alarm"
    assert state(monitor).get("acknowledged")
    (order,) = told(monitor, "acknowledged")
    assert order.data["event"] == alarm.id
    with pytest.raises(DataError, match="no event has the id 'unknown'"):
        monitor.acknowledge("unknown")


def test_a_reference_that_was_set_is_compared_with(monitor: EdgeMonitor) -> None:
    log(monitor, values(50, 0))
    assert state(monitor)["state"] == "learning"
    monitor.set_reference_data("x", values(2000, 2000, seed=5), model="m")
    log(monitor, values(500, 500, seed=6), begin=50)
    assert state(monitor)["state"] == "fine"
    log(monitor, values(500, 0), begin=600)
    assert state(monitor)["state"] == "alarm"


@pytest.mark.parametrize("sort", ["list", "array", "series"])
def test_a_long_reference_of_any_sort_is_taken_whole(monitor: EdgeMonitor, sort: str) -> None:
    xs: Any = values(100_000, 100_000)
    if sort == "array":
        xs = pytest.importorskip("numpy").array(xs)
    if sort == "series":
        xs = pytest.importorskip("pandas").Series(xs)
    monitor.set_reference_data("x", xs, model="m")
    log(monitor, values(100, 100))
    assert state(monitor)["state"] == "fine"


def test_a_reference_that_is_none_is_one_sentence(monitor: EdgeMonitor) -> None:
    for wrong in ([], 5, "abc", None, [object()] * 0, [[1, 2], [3, 4]], [{"a": 1}]):
        with pytest.raises(DataError, match="give a list of numbers"):
            monitor.set_reference_data("x", wrong)  # type: ignore[arg-type]


def test_references_can_be_saved_and_given_to_the_next(tmp_path: Path) -> None:
    first = made(tmp_path)
    log(first, values(600, 600))
    first.check_drift()
    first.save_reference_data(tmp_path / "folder" / "reference.json")
    first.stop()
    (tmp_path / "second").mkdir()
    second = made(tmp_path / "second", reference_data_path=str(tmp_path / "folder" / "reference.json"))
    log(second, values(400, 0, seed=8))
    assert state(second)["state"] == "alarm"
    second.stop()


def test_a_check_now_is_stored_and_answers_for_every_feature(monitor: EdgeMonitor) -> None:
    log(monitor, values(700, 700))
    results = monitor.check_drift()
    assert {result.feature for result in results} == {"inputs.x"}
    assert all(isinstance(result, DriftResult) for result in results)
    assert monitor.flush()
    assert [result.feature for result in monitor.drift_results(limit=len(results))] == ["inputs.x"]
    assert monitor.get_status()["drift_results_count"] >= len(results)


# - what was gone before it was decided about -


def test_predictions_that_were_gone_before_a_decision_are_said(tmp_path: Path) -> None:
    clock = ManualClock(1e9)
    with closing(Store(tmp_path / "m.db", clock=clock)) as store:
        decider = Decider(lambda: store, Settings(learn_reference=200, learn_reference_hours=0), clock=clock)

        def stored(count: int) -> None:
            rows = [
                Prediction(ts=clock.time(), id=f"a-{i}", model="m", inputs={"x": 1.0 * i})
                for i in range(count)
            ]
            with store.transaction() as tx:
                tx.append("predictions", rows)

        stored(10)
        decider.step(clock.monotonic())
        stored(30)
        with closing(sqlite3.connect(tmp_path / "m.db")) as other, other:  # as a full disk or a purge would
            assert other.execute("DELETE FROM predictions WHERE first_seq = 11").rowcount == 1
        stored(5)
        decider.step(clock.monotonic())
        found = [event for event in store.newest("events") if event.type == "undecided"]
        assert [(one.severity, one.data) for one in found] == [
            ("warning", {"predictions": 30, "before_seq": 41})
        ]
        decider.step(clock.monotonic())
        assert len([event for event in store.newest("events") if event.type == "undecided"]) == 1


# - a write that fails -


def test_what_was_found_is_not_lost_where_it_cannot_be_written_at_once(tmp_path: Path) -> None:
    clock = ManualClock(1e9)
    with closing(Store(tmp_path / "m.db", clock=clock)) as store:
        decider = Decider(lambda: store, Settings(learn_reference=200, learn_reference_hours=0), clock=clock)
        rows = [Prediction(ts=1e9 + i, inputs={"x": x}, model="m") for i, x in enumerate(values(1000, 600))]
        with store.transaction() as tx:
            tx.append("predictions", rows)
        refused = "BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
        store.query(f"CREATE TEMP TRIGGER full {refused}")
        for _ in range(2):
            with pytest.raises(StoreError, match="full"):
                decider.step(clock.monotonic())
        store.query("DROP TRIGGER full")
        decider.step(clock.monotonic())
        events = [one for one in store.newest("events") if isinstance(one, Event)]
        assert [one.type for one in events if one.severity == "alarm"] == ["drift"]


@pytest.mark.parametrize("decides", [True, False], ids=["this process decides", "another one decides"])
def test_a_check_ends_though_others_log_faster_than_it_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decides: bool
) -> None:
    with closing(Store(tmp_path / "m.db")) as store:
        decider = Decider(lambda: store, Settings(learn_reference=20, learn_reference_hours=0))

        def logged(count: int) -> None:
            xs = values(count, count)
            with store.transaction() as tx:
                tx.append("predictions", [Prediction(ts=1e9, inputs={"x": x}, model="m") for x in xs])

        decide = decider._decide

        def outpaced(block: Block, commit: bool) -> Any:
            logged(10)
            assert store.counts()["predictions"] < 1000, "no end in sight"
            return decide(block, commit)

        if not decides:
            monkeypatch.setattr(leases, "acquire", lambda store, role: False)
        logged(30)
        monkeypatch.setattr(decider, "_decide", outpaced)
        decider.check()
        assert store.counts()["predictions"] == 40
