"""`reference build --actual` and `replay --actual`: errors and estimates, as on the device."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_mlops_monitor import EdgeMonitor
from edge_mlops_monitor.cli import main
from edge_mlops_monitor.clock import ManualClock
from edge_mlops_monitor.dataset import Selection
from edge_mlops_monitor.decider import Decider
from edge_mlops_monitor.drift.reference_file import dump, load
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.records import Event, Prediction
from edge_mlops_monitor.replay import build_reference, replay
from edge_mlops_monitor.store import Store

SETTINGS = Settings(average_run_length=20_000, learn_reference_hours=0)
SCORED = Selection(timestamp="t", inputs=["x"], outputs=["score"], actual="label")
SIZED = Selection(timestamp="t", inputs=["x"], outputs=["y"], actual="label")


def write(path: Path, columns: dict[str, Any]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def scored(path: Path, rows: int, seed: int, harder: int = 1 << 30, turned: int = 1 << 30) -> Path:
    """Scores and labels; from row `harder` on the data are near the border, from `turned` on labels lie."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 2.5, rows)
    x[harder:] /= 10
    score = 1 / (1 + np.exp(-x))
    label = (rng.uniform(size=rows) < score).astype(int)
    label[turned:] = 1 - label[turned:]
    columns = {"t": 60 * np.arange(rows), "x": x.round(4), "score": score.round(4), "label": label}
    return write(path, columns)


def sized(path: Path, rows: int, seed: int, farther: int = 1 << 30) -> Path:
    """Numbers whose errors grow with x, which is larger from row `farther` on."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 1, rows)
    x[farther:] = rng.uniform(0.7, 1, len(x[farther:]))
    y = 10 * x
    label = y + rng.normal(size=rows) * (0.2 + 2 * (x > 0.6))
    columns = {"t": 60 * np.arange(rows), "x": x.round(4), "y": y.round(4), "label": label.round(4)}
    return write(path, columns)


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    file = tmp_path / "reference.json"
    file.write_text(dump(build_reference(scored(tmp_path / "train.csv", 3000, seed=1), SCORED)))
    return file


def test_a_reference_with_labels_holds_the_errors_and_what_estimates_them(reference: Path) -> None:
    found = {one.name: one for one in load(reference)}
    assert list(found) == ["inputs.x", "outputs.score", "performance.error", "joint"]
    error = found["performance.error"]
    assert error.mean == pytest.approx(0.22, abs=0.05)
    assert error.estimator is not None
    assert error.estimator["method"] == "cbpe"
    assert found["inputs.x"].estimator is None


def test_a_model_that_gets_worse_is_found_at_its_row_in_the_replay(tmp_path: Path, reference: Path) -> None:
    found = replay(scored(tmp_path / "field.csv", 3000, 2, turned=2000), reference, SETTINGS, SCORED)
    (alarm,) = found.alarms
    assert (alarm["type"], alarm["feature"]) == ("performance", "performance.error")
    assert 2000 < alarm["index"] < 2200
    assert 1900 < alarm["since_index"] < 2100
    (figures,) = found.performance["figures"]
    assert figures["kind"] == "score"
    assert found.performance["labels"] == {"compared": 3000}


def test_rows_are_those_of_the_file_where_labels_and_sources_are_missing(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = 6000
    said = rng.choice(["ok", "bad"], rows)
    wrong = rng.uniform(size=rows) < np.where(np.arange(rows) < 4000, 0.05, 0.4)
    truth = np.where(wrong, np.where(said == "ok", "bad", "ok"), said)
    truth[rng.uniform(size=rows) < 0.5] = ""
    columns = {"x": rng.normal(size=rows).round(3), "said": said, "truth": truth}
    data = write(tmp_path / "a.csv", {**columns, "line": np.arange(rows) % 2})
    chosen = Selection(inputs=["x"], outputs=["said"], actual="truth", source="line")
    found = replay(data, None, SETTINGS, chosen)
    assert {alarm["source"] for alarm in found.alarms} == {"0", "1"}
    for alarm in found.alarms:
        assert 4000 < alarm["index"] < 5000
        assert alarm["index"] % 2 == int(alarm["source"])
        assert truth[alarm["index"]] != ""


def test_estimates_follow_harder_data_and_are_blind_where_labels_lie(tmp_path: Path, reference: Path) -> None:
    data = scored(tmp_path / "field.csv", 6000, 4, harder=2000, turned=4000)
    found = replay(data, reference, SETTINGS, SCORED)
    times = np.array([[one.ts / 60, one.statistic] for one in found.results if is_estimate(one)])
    at = {row: times[np.abs(times[:, 0] - row).argmin(), 1] for row in (1900, 3900, 5900)}
    assert at[1900] == pytest.approx(0.8, abs=0.05)
    assert at[3900] == pytest.approx(at[5900], abs=0.03)
    assert at[3900] < 0.6
    (estimate,) = found.performance["estimates"]
    assert (estimate["method"], estimate["rows"]) == ("cbpe", 1000)
    assert found.performance["figures"][0]["realised"]["accuracy"]["value"] < 0.5
    assert not [one for one in found.results if one.method == "cbpe" and one.is_drift is not None]


def is_estimate(one: Any) -> bool:
    return bool(one.method == "cbpe" and one.feature == "performance.accuracy")


def test_estimates_need_no_labels_in_the_field(tmp_path: Path, reference: Path) -> None:
    unlabelled = Selection(timestamp="t", inputs=["x"], outputs=["score"])
    found = replay(scored(tmp_path / "field.csv", 2000, 5), reference, SETTINGS, unlabelled)
    (estimate,) = found.performance["estimates"]
    accuracy = estimate["estimated"]["accuracy"]
    assert accuracy["lower"] < 0.8 < accuracy["upper"]
    assert "figures" not in found.performance
    assert found.not_enough_reference == found.learning == []


def test_errors_of_numbers_are_estimated_from_the_inputs(tmp_path: Path) -> None:
    references = build_reference(sized(tmp_path / "train.csv", 3000, 6), SIZED)
    assert (references[-1].estimator or {})["method"] == "dle"
    found = replay(sized(tmp_path / "field.csv", 4000, 7, farther=2000), references, SETTINGS, SIZED)
    (estimate,) = found.performance["estimates"]
    (realised,) = found.performance["figures"]
    assert estimate["method"] == "dle"
    mae = estimate["estimated"]["mae"]
    assert mae["lower"] < realised["realised"]["mae"]["value"] < mae["upper"]
    assert mae["value"] > 1.3, "twice what it was in the reference"


def test_scores_of_named_classes_are_found_by_their_names(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    chance = rng.dirichlet((1, 1, 1), 2000).round(4)
    names = np.array(["ok", "scratch", "dent"])
    label = names[(chance.cumsum(axis=1) < rng.uniform(size=(2000, 1))).sum(axis=1).clip(0, 2)]
    columns = {f"p_{name}": chance[:, i] for i, name in enumerate(names)}
    data = write(tmp_path / "a.csv", {**columns, "said": names[chance.argmax(axis=1)], "label": label})
    outputs = [*columns, "said"]
    references = build_reference(data, Selection(inputs=["p_ok"], outputs=outputs, actual="label"))
    estimator = references[-1].estimator or {}
    assert estimator["columns"] == ["outputs.p_dent", "outputs.p_ok", "outputs.p_scratch"]
    found = replay(data, references, SETTINGS, Selection(outputs=outputs, actual="label"))
    (estimate,) = found.performance["estimates"]
    (realised,) = found.performance["figures"]
    for name, one in estimate["estimated"].items():
        if name in realised["realised"]:
            assert one["value"] == pytest.approx(realised["realised"][name]["value"], abs=0.08), name


def test_without_an_output_to_compare_it_is_said(tmp_path: Path) -> None:
    data = scored(tmp_path / "a.csv", 300, 9)
    found = replay(data, None, SETTINGS, Selection(inputs=["x"], actual="label"))
    assert "performance.error" in found.not_enough_reference
    assert "no output is like the actuals" in found.missing["performance.error"]
    assert [one.name for one in build_reference(data, Selection(inputs=["x"], actual="label"))] == [
        "inputs.x"
    ]


def test_the_commands_tell_all_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, field = scored(tmp_path / "train.csv", 3000, 1), scored(tmp_path / "b.csv", 3000, 2, turned=2000)
    columns = ["--timestamp", "t", "--inputs", "x", "--outputs", "score", "--actual", "label"]
    made = str(tmp_path / "made.json")
    assert main(["reference", "build", str(train), "-o", made, *columns, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["features"][-1]["estimated_by"] == "cbpe"
    options = ["--reference", made, *columns, "--average-run-length", "20000"]
    assert main(["replay", str(field), *options]) == 0
    out = capsys.readouterr().out
    assert "the error of the model rose from" in out
    assert "realised   accuracy" in out
    assert "estimated  accuracy" in out
    assert max(map(len, out.splitlines())) <= 80
    assert main(["replay", str(field), *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [alarm["type"] for alarm in found["alarms"]] == ["performance"]
    assert set(found["performance"]) == {"labels", "figures", "estimates"}


# - the device says the same -


def test_the_device_says_what_the_replay_says(tmp_path: Path, reference: Path) -> None:
    data = scored(tmp_path / "field.csv", 3000, 2, turned=2000)
    replayed = replay(data, reference, Settings(average_run_length=20_000), SCORED)
    drift = {"reference_data_path": str(reference), "average_run_length": 20_000}
    config = {"storage": {"sqlite_path": str(tmp_path / "m.db")}, "drift_detection": drift}
    monitor = EdgeMonitor(config=config)
    with data.open() as file:
        for row in csv.DictReader(file):
            outputs = {"score": float(row["score"])}
            id = monitor.log_prediction({"x": float(row["x"])}, outputs, timestamp=float(row["t"]))
            monitor.log_actual(id, int(row["label"]))
    assert monitor.flush()
    monitor.check_drift()
    (alarm,) = [event for event in monitor.events() if event.type == "performance"]
    (expected,) = replayed.alarms
    assert alarm.message == expected["message"]
    assert alarm.data["row"] == expected["index"]
    assert monitor.get_status()["performance"] == {
        **replayed.performance,
        "labels": {"compared": 3000, "waiting": 0},
    }
    kept = [(one.ts, one.feature, one.statistic) for one in monitor.drift_results() if one.method == "cbpe"]
    assert kept[::-1] == [
        (one.ts, one.feature, one.statistic) for one in replayed.results if one.method == "cbpe"
    ]
    monitor.stop()


def test_restarts_change_no_estimate(tmp_path: Path, reference: Path) -> None:
    def decide(path: Path, every: int) -> list[tuple[float, str, Any]]:
        clock = ManualClock()
        store = Store(path, clock=clock)
        store.query("PRAGMA synchronous = OFF")
        rng = np.random.default_rng(10)
        decider = Decider(lambda: store, Settings(), lambda: load(reference), clock=clock)
        for first in range(0, 1000, 50):
            rows = [
                Prediction(ts=60.0 * (first + i), inputs={"x": 0.0}, outputs={"score": float(rng.uniform())})
                for i in range(50)
            ]
            with store.transaction() as tx:
                tx.append("predictions", rows)
            decider.step(clock.monotonic())
            if every and first % every == 0:
                decider.close()
                decider = Decider(lambda: store, Settings(), lambda: load(reference), clock=clock)
        found: list[Any] = [one for one in store.newest("drift") if one.method == "cbpe"]  # type: ignore[attr-defined]
        store.close()
        return [(one.ts, one.feature, one.statistic) for one in found]

    whole = decide(tmp_path / "whole.db", 0)
    assert len(whole) >= 5 * 15
    assert decide(tmp_path / "parts.db", 100) == whole


def test_an_alarm_of_a_source_is_an_event_of_that_source(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    wrong = rng.uniform(size=3000) < np.where(np.arange(3000) < 2000, 0.05, 0.4)
    data = write(tmp_path / "a.csv", {"said": wrong * 1, "truth": np.zeros(3000, int), "line": ["b"] * 3000})
    found = replay(data, None, SETTINGS, Selection(outputs=["said"], actual="truth", source="line"))
    alarms = [alarm for alarm in found.alarms if alarm["type"] == "performance"]
    assert [alarm["source"] for alarm in alarms] == ["b"]
    assert "of the model for b rose" in alarms[0]["message"]
    assert not any(isinstance(one, Event) for one in found.results)
