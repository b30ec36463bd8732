"""Labels on the device: joined by id, errors decided about under the budget, the same after a restart."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from edge_mlops_monitor import EdgeMonitor
from edge_mlops_monitor.clock import ManualClock
from edge_mlops_monitor.decider import Decider
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.records import Actual, DriftResult, Event, Prediction
from edge_mlops_monitor.store import Store

SETTINGS = Settings(learn_reference=200, learn_reference_hours=0)


def made(tmp_path: Path, **drift: Any) -> EdgeMonitor:
    config = {
        "storage": {"sqlite_path": str(tmp_path / "m.db")},
        "model_logging": {"flush_interval_seconds": 0.01},
        "drift_detection": {"learn_reference": 200, "learn_reference_hours": 0, **drift},
    }
    return EdgeMonitor(config=config)


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[EdgeMonitor]:
    monitor = made(tmp_path)
    yield monitor
    monitor.stop()


def truths(share_wrong: Sequence[float], rows: int, seed: int = 1) -> list[tuple[str, str]]:
    """What was said and what was true, so many rows of each share of wrong answers."""
    draw = random.Random(seed)
    pairs = []
    for share in share_wrong:
        for _ in range(rows):
            said = draw.choice(["ok", "defect"])
            wrong = draw.random() < share
            pairs.append((said, {"ok": "defect", "defect": "ok"}[said] if wrong else said))
    return pairs


def log(monitor: EdgeMonitor, pairs: Sequence[tuple[Any, Any]], begin: int = 0) -> list[str]:
    """Predictions, and their labels once all are made."""
    ids = [
        monitor.log_prediction({"x": 1.0}, said, model="gate", model_version="3", timestamp=1e9 + begin + i)
        for i, (said, _) in enumerate(pairs)
    ]
    for i, (id, (_, truth)) in enumerate(zip(ids, pairs, strict=True)):
        monitor.log_actual(id, truth, timestamp=1e9 + begin + 60 + i)
    assert monitor.flush()
    monitor.check_drift()
    return ids


def told(monitor: EdgeMonitor, *types: str) -> list[Event]:
    return [event for event in list(monitor.events())[::-1] if event.type in types]


def status(monitor: EdgeMonitor) -> dict[str, Any]:
    monitor.check_drift()
    found: dict[str, Any] = monitor.get_status()["performance"]
    return found


def state(monitor: EdgeMonitor, feature: str = "performance.error") -> dict[str, Any]:
    monitor.check_drift()
    (row,) = [row for row in monitor.get_status()["features"] if row["feature"] == feature]
    return row


# - what is told -


def test_a_model_that_gets_worse_is_one_alarm_in_its_own_words_and_one_recovery(monitor: EdgeMonitor) -> None:
    log(monitor, truths([0.04, 0.2, 0.04], 1500))
    alarm, recovery = told(monitor, "performance", "recovery", "drift")
    assert (alarm.type, alarm.severity) == ("performance", "alarm")
    assert alarm.message.startswith("the error of gate 3 rose from ")
    assert "labelled predictions)" in alarm.message
    assert alarm.data["feature"] == "performance.error"
    assert alarm.data["before"]["error"] == pytest.approx(0.04, abs=0.03)
    assert alarm.data["after"]["error"] == pytest.approx(0.2, abs=0.1)
    assert alarm.data["effect"] == alarm.data["after"]["error"] - alarm.data["before"]["error"]
    assert 1e9 + 1400 < alarm.data["since"] < 1e9 + 1700
    assert recovery.data["of"] == "performance"
    assert recovery.message == "the error of gate 3 is back where it was"


def test_first_mistakes_of_a_model_without_any_are_told_as_a_rise_too(monitor: EdgeMonitor) -> None:
    log(monitor, truths([0.0, 0.1], 500))
    (alarm,) = told(monitor, "performance", "unseen_category", "missing", "spikes")
    assert alarm.message.startswith("the error of gate 3 rose from 0.0% to ")


def test_a_few_large_errors_are_no_fault_of_the_data(monitor: EdgeMonitor) -> None:
    draw = random.Random(7)
    pairs = [(20.0 + draw.gauss(0, 1), 20.0 + (1e4 if i % 97 == 96 and i > 1000 else 0)) for i in range(1500)]
    log(monitor, pairs)
    assert {event.type for event in monitor.events()} <= {"generation", "performance"}


def test_errors_of_a_regression_are_told_in_their_unit(monitor: EdgeMonitor) -> None:
    draw = random.Random(2)
    pairs = [(20 + draw.gauss(0, 1), 20 + draw.gauss(0, 1 if i < 1500 else 4)) for i in range(2500)]
    log(monitor, pairs)
    (alarm,) = told(monitor, "performance")
    assert alarm.message.startswith("the mean absolute error of gate 3 rose from 1.")
    assert alarm.data["effect_unit"] == "mean absolute error"
    assert {one["kind"] for one in status(monitor)["figures"]} == {"numbers"}


def test_rolling_figures_are_stored_every_hour_with_their_intervals(monitor: EdgeMonitor) -> None:
    log(monitor, truths([0.1], 8000))
    results = [one for one in monitor.drift_results() if one.method == "realised"]
    assert {one.feature for one in results} == {
        f"performance.{name}" for name in ("accuracy", "precision", "recall", "f1")
    }
    accuracy = [one for one in results if one.feature == "performance.accuracy"]
    assert len(accuracy) == 2, "8000 seconds hold two full hours"
    for one in accuracy:
        assert one.statistic == pytest.approx(0.9, abs=0.04)
        assert one.data["lower"] < one.statistic < one.data["upper"]
        assert (one.sample_size, one.model, one.model_version) == (1000, "gate", "3")


def test_the_status_tells_figures_and_states(monitor: EdgeMonitor) -> None:
    log(monitor, truths([0.1], 600))
    (figures,) = status(monitor)["figures"]
    assert (figures["output"], figures["kind"], figures["labelled"]) == ("outputs.value", "classes", 600)
    assert figures["realised"]["accuracy"]["value"] == pytest.approx(0.9, abs=0.04)
    assert state(monitor)["state"] == "fine"
    assert status(monitor)["labels"]["compared"] == 600


def test_without_labels_nothing_is_said_of_performance(monitor: EdgeMonitor) -> None:
    for i in range(300):
        monitor.log_prediction({"x": 1.0}, "ok", timestamp=1e9 + i)
    monitor.flush()
    assert status(monitor) == {}
    assert [row for row in monitor.get_status()["features"] if "performance" in row["feature"]] == []


def test_every_output_of_a_model_is_told_by_itself(monitor: EdgeMonitor) -> None:
    draw = random.Random(8)
    pairs = []
    for i in range(2000):
        label, width = draw.choice("ab"), draw.gauss(5, 1)
        wrong = draw.random() < (0.05 if i < 1200 else 0.4)
        truth = {"label": "ba"["ab".index(label)] if wrong else label, "width": width + draw.gauss(0, 0.1)}
        pairs.append(({"label": label, "width": width}, truth))
    log(monitor, pairs)
    (alarm,) = told(monitor, "performance", "drift", "joint")
    assert alarm.data["feature"] == "performance.error.label"
    assert alarm.message.startswith("the error of gate 3 (label) rose from ")
    features = {row["feature"] for row in monitor.get_status()["features"] if "error" in row["feature"]}
    assert features == {"performance.error.label", "performance.error.width"}


def test_what_is_kept_of_labels_stays_small(monitor: EdgeMonitor) -> None:
    log(monitor, truths([0.1], 3000))
    for i in range(2000):
        monitor.log_actual(f"somewhere-else-{i}", "ok")
    monitor.flush()
    monitor.check_drift()
    kept = monitor._runtime.decider._joining.state()
    assert len(kept) < 60_000, "1000 pairs, 500 labels that wait, and the evidence"


# - orders -


def test_orders_about_errors_reach_those_who_decide_about_them(monitor: EdgeMonitor) -> None:
    log(monitor, truths([0.04, 0.3], 1000))
    (alarm,) = told(monitor, "performance")
    assert state(monitor)["event"] == alarm.id
    monitor.acknowledge(alarm.id)
    assert state(monitor)["acknowledged"]
    monitor.rebaseline(feature="performance.error")
    log(monitor, truths([0.3], 100, seed=5), begin=3000)
    assert state(monitor)["state"] == "learning"
    monitor.set_reference_data("performance.error", [float(i % 10 == 0) for i in range(1000)])
    log(monitor, truths([0.3], 500, seed=6), begin=4000)
    assert state(monitor)["state"] == "alarm"


def test_references_of_errors_are_saved_with_the_others(tmp_path: Path) -> None:
    first = made(tmp_path)
    log(first, truths([0.04], 500))
    first.save_reference_data(tmp_path / "reference.json")
    first.stop()
    (tmp_path / "second").mkdir()
    second = made(tmp_path / "second", reference_data_path=str(tmp_path / "reference.json"))
    log(second, truths([0.3], 300, seed=3))
    assert state(second)["state"] == "alarm", "measured against what the first had learned"
    second.stop()


# - the join -


def test_a_later_label_for_the_same_prediction_wins_and_is_counted(monitor: EdgeMonitor) -> None:
    ids = log(monitor, truths([0.0], 100))
    assert status(monitor)["figures"][0]["realised"]["accuracy"]["value"] == 1.0
    for id in ids[:10]:
        monitor.log_actual(id, "something else")
    monitor.log_actual(ids[10], "first")
    monitor.log_actual(ids[10], "second")
    monitor.flush()
    found = status(monitor)
    assert found["figures"][0]["realised"]["accuracy"]["value"] == pytest.approx(0.89)
    assert (found["labels"]["compared"], found["labels"]["superseded"]) == (100, 12)


def test_a_label_may_come_before_its_prediction(monitor: EdgeMonitor) -> None:
    for i in range(50):
        monitor.log_actual(f"order-{i}", "ok", timestamp=1e9 + i)
    monitor.flush()
    assert status(monitor)["labels"] == {"waiting": 50}
    for i in range(50):
        monitor.log_prediction({"x": 1}, "ok", prediction_id=f"order-{i}", timestamp=1e9 + i)
    monitor.flush()
    assert status(monitor)["labels"] == {"compared": 50, "waiting": 0}


def test_what_cannot_be_joined_is_counted_and_bounded(monitor: EdgeMonitor) -> None:
    for i in range(800):
        monitor.log_actual(f"gone-{i}", "ok", timestamp=1e9)
    monitor.log_actual("another", "ok", timestamp=1e9 + 7200)
    monitor.flush()
    assert status(monitor)["labels"] == {"prediction_gone": 800, "waiting": 1}


def test_labels_of_failed_predictions_and_of_another_form_are_counted(monitor: EdgeMonitor) -> None:
    ids = log(monitor, truths([0.0], 30))
    failed = monitor.log_prediction({"x": 1}, None, timestamp=1e9 + 100)
    other = monitor.log_prediction({"x": 1}, None, model="gate", model_version="3", timestamp=1e9 + 101)
    with suppress(RuntimeError), monitor.watch(model="gate") as call:
        raise RuntimeError("no picture")
    for id in (failed, other, call.prediction_id):
        monitor.log_actual(id, "ok")
    monitor.log_actual(ids[0], [1, 2, 3])
    monitor.flush()
    assert status(monitor)["labels"] == {
        "compared": 30,
        "not_comparable": 2,
        "prediction_failed": 1,
        "waiting": 0,
    }


@pytest.mark.parametrize(
    ("outputs", "actual", "compared"),
    [
        ({"label": "ok", "score": 0.9}, "ok", {"performance.error": ("outputs.label", "classes")}),
        ({"label": "ok", "score": 0.9}, 1, {"performance.error": ("outputs.score", "score")}),
        (0.25, True, {"performance.error": ("outputs.value", "score")}),
        (3, 4, {"performance.error": ("outputs.value", "classes")}),
        (3.5, 4, {"performance.error": ("outputs.value", "numbers")}),
        (
            {"width": 3.5, "label": "a", "height": 2},
            {"width": 3.0, "label": "a"},
            {
                "performance.error.width": ("outputs.width", "numbers"),
                "performance.error.label": ("outputs.label", "classes"),
            },
        ),
        ({"a": 1.0, "b": 2.0}, 1.0, {}),
        ("ok", {"label": "ok"}, {}),
    ],
)
def test_which_output_a_label_is_compared_with(
    monitor: EdgeMonitor, outputs: Any, actual: Any, compared: dict[str, Any]
) -> None:
    log(monitor, [(outputs, actual)] * 30)
    found = {one["feature"]: (one["output"], one["kind"]) for one in status(monitor)["figures"]}
    assert found == compared
    if not compared:
        assert "log them as {name of the output: value}" in state(monitor)["missing"]


# - restarts -


def decide(path: Path, restart: Callable[[int], str], labels_first: bool = False) -> list[dict[str, Any]]:
    """The findings of a decider that is thrown away where `restart(block)` says so."""
    pairs = truths([0.05, 0.25, 0.05], 800)
    clock = ManualClock()
    store = Store(path, clock=clock)
    store.query("PRAGMA synchronous = OFF")
    decider = Decider(lambda: store, SETTINGS, clock=clock)
    for number, first in enumerate(range(0, len(pairs), 40)):
        part = list(enumerate(pairs[first : first + 40], first))
        predictions = [Prediction(ts=1e9 + 5 * i, id=f"p{i}", outputs=s, model="gate") for i, (s, _) in part]
        actuals = [Actual(ts=1e9 + 5 * i + 60, prediction_id=f"p{i}", actual=t) for i, (_, t) in part]
        with store.transaction() as tx:
            _, last = tx.append("predictions", predictions)
            key = tx.generation_number << 40 | last
            for one in predictions:
                tx.sql("INSERT OR REPLACE INTO caller_ids VALUES (?, ?)", (one.id, key))
            tx.append("actuals", actuals)
        clock.advance(7)
        how = restart(number)
        if how == "before":  # killed with the last block stored and not decided
            decider = Decider(lambda: store, SETTINGS, clock=clock)
        decider.step(clock.monotonic())
        if how == "close":
            decider.close()
        if how in ("close", "after"):
            decider = Decider(lambda: store, SETTINGS, clock=clock)
    decider.step(clock.monotonic())
    found: list[Any] = [*list(store.newest("events"))[::-1], *list(store.newest("drift"))[::-1]]
    store.close()
    return [stripped(one) for one in found if not isinstance(one, Event) or one.type != "generation"]


def stripped(one: Any) -> dict[str, Any]:
    said: dict[str, Any] = one.to_dict()
    for name in ("id", "seq", "generation", "boot_id", "clock_synced", "device_id"):
        said.pop(name, None)
    return said


def test_restarts_of_all_sorts_change_no_decision_about_errors(tmp_path: Path) -> None:
    expected = decide(tmp_path / "whole.db", lambda number: "")
    assert [one["type"] for one in expected if "type" in one] == ["performance", "recovery"]
    assert any(one.get("method") == "realised" for one in expected)
    chance = random.Random(3)
    for how in ("close", "after", "before", "mixed"):
        options = ["close", "after", "before"] if how == "mixed" else [how]

        def restart(number: int, options: list[str] = options) -> str:
            return chance.choice(options) if chance.random() < 0.3 else ""

        assert decide(tmp_path / f"{how}.db", restart) == expected, how


def test_other_settings_decide_about_errors_anew_and_read_no_label_twice(tmp_path: Path) -> None:
    with made(tmp_path) as first:
        log(first, truths([0.04], 500))
    second = made(tmp_path, false_alarms_per_month=5)
    assert status(second)["labels"]["compared"] == 500
    assert [row for row in second.get_status()["features"] if row["feature"] == "performance.error"] == []
    log(second, truths([0.04], 50, seed=3), begin=1000)
    assert status(second)["labels"]["compared"] == 550
    assert state(second)["state"] == "learning"
    second.stop()


def test_results_name_their_stream(monitor: EdgeMonitor) -> None:
    log(monitor, truths([0.1], 400))
    results = monitor.check_drift()
    assert [one.feature for one in results if isinstance(one, DriftResult)].count("performance.error") == 1
