"""Odd data, through `replay` and through `check_drift`: an answer or one sentence, never a false alarm."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_mlops_monitor import EdgeMonitor
from edge_mlops_monitor.dataset import Selection
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.replay import build_reference, replay

ROWS = 2000
TIMED = Selection(timestamp="t")

ODD: dict[str, Callable[[random.Random], Any]] = {
    "empty": lambda draw: None,
    "constant": lambda draw: 7.25,
    "missing": lambda draw: float("nan"),
    "one": lambda draw: "red",
    "notfinite": lambda draw: draw.choice([float("nan"), float("inf"), float("-inf"), 1.5, 2.5]),
    "big": lambda draw: 2**53 + draw.randrange(10**9),
    "huge": lambda draw: 10**400 + draw.randrange(99),
    "text": lambda draw: "low" if draw.random() < 0.05 else draw.gauss(0, 1),
    "labels": lambda draw: f"c{draw.randrange(10_000)}",
    "fine": lambda draw: draw.gauss(0, 1),
}
VALUELESS = {"inputs.empty", "inputs.missing", "inputs.huge"}


def odd(rows: int, seed: int) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    return [{name: make(draw) for name, make in ODD.items()} for _ in range(rows)]


def csv(path: Path, rows: list[dict[str, Any]], times: list[int] | None = None) -> Path:
    lines = [",".join(["t", *ODD])]
    for place, row in enumerate(rows):
        values = ["" if value is None else str(value) for value in row.values()]
        lines.append(",".join([str(times[place] if times else 60 * place), *values]))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A reference and the rows after it, of the same odd kind."""
    folder = tmp_path_factory.mktemp("odd")
    return csv(folder / "before.csv", odd(ROWS, 1)), csv(folder / "after.csv", odd(ROWS, 2))


@pytest.mark.parametrize("learned", [False, True], ids=["reference given", "learned"])
def test_replay_of_odd_columns_raises_no_alarm_and_names_those_without_a_value(
    files: tuple[Path, Path], learned: bool
) -> None:
    reference = None if learned else build_reference(files[0], TIMED)
    found = replay(files[1], reference, Settings(learn_reference_hours=0), TIMED)
    assert found.alarms == []
    assert set(found.not_enough_reference) == VALUELESS
    assert all(found.missing[feature] for feature in VALUELESS)
    json.dumps(found.to_dict(), allow_nan=False)


def test_infinities_in_a_column_of_numbers_leave_it_one(files: tuple[Path, Path]) -> None:
    kinds = {feature.name: feature.numeric for feature in build_reference(files[0], TIMED)}
    assert kinds["inputs.notfinite"]
    assert kinds["inputs.big"]
    assert kinds["inputs.text"]  # one value in twenty is text: those are faults
    assert not kinds["inputs.labels"]


def test_a_text_here_and_there_leaves_a_column_one_of_numbers(tmp_path: Path) -> None:
    draw = random.Random(3)

    def rows(count: int, texts: float) -> list[str]:
        return [str("ERR" if draw.random() < texts else round(draw.gauss(0, 1), 3)) for _ in range(count)]

    def table(name: str, column: list[str]) -> Path:
        path = tmp_path / name
        path.write_text("a,b\n" + "".join(f"{value},{draw.random():.3f}\n" for value in column))
        return path

    clean = build_reference(table("clean.csv", rows(2000, 0.0)))
    faulty = build_reference(table("faulty.csv", rows(2000, 0.05)))
    often = Settings(average_run_length=10_000)
    for reference in (clean, faulty):
        one = table("one.csv", [*rows(1500, 0.0), "ERR", *rows(1500, 0.0)])
        assert replay(one, reference, often).alarms == []
        (alarm,) = replay(table("many.csv", [*rows(1000, 0.0), *rows(1000, 0.4)]), reference, often).alarms
        assert (alarm["type"], alarm["feature"]) == ("type", "inputs.a")
        assert 1000 <= alarm["index"] < 1100
        assert "such as 'ERR'" in alarm["message"]
    assert replay(table("as ever.csv", rows(4000, 0.05)), faulty, often).alarms == []


def test_what_is_a_category_in_the_reference_is_one_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "codes.csv"
    path.write_text("code,b\n" + "".join(f"{i * i % 7:03d},{i % 10}\n" for i in range(2000)))
    reference = build_reference(path, Selection(categorical=["code"]))
    assert replay(path, reference, Settings(average_run_length=10_000)).alarms == []


def test_a_file_without_any_of_the_features_that_go_together_is_answered(tmp_path: Path) -> None:
    draw = random.Random(4)
    before, after = tmp_path / "before.csv", tmp_path / "after.csv"
    before.write_text("a,b\n" + "".join(f"{draw.random():.4f},{draw.random():.4f}\n" for _ in range(1000)))
    after.write_text("z\n" + "".join(f"{draw.random():.4f}\n" for _ in range(1000)))
    found = replay(after, build_reference(before), Settings(average_run_length=10_000))
    assert (found.predictions, found.alarms) == (1000, [])
    assert set(found.absent) == {"inputs.a", "inputs.b"}


def test_a_reference_of_one_row_is_not_enough(files: tuple[Path, Path], tmp_path: Path) -> None:
    one = csv(tmp_path / "one.csv", odd(1, 1))
    found = replay(files[1], build_reference(one, TIMED), None, TIMED)
    assert found.alarms == []
    assert set(found.not_enough_reference) == {f"inputs.{name}" for name in ODD}
    assert "1 rows and at least 50 are needed" in found.missing["inputs.fine"]


@pytest.mark.parametrize("rows", [1, 24, 26])
def test_a_file_of_a_few_rows_is_answered(files: tuple[Path, Path], tmp_path: Path, rows: int) -> None:
    few = csv(tmp_path / "few.csv", odd(rows, 5))
    for reference in (None, build_reference(files[0], TIMED)):
        found = replay(few, reference, None, TIMED)
        assert (found.predictions, found.alarms) == (rows, [])
        assert "inputs.fine" not in found.not_enough_reference


def test_times_in_any_order_raise_no_alarm(files: tuple[Path, Path], tmp_path: Path) -> None:
    times = [60 * row for row in range(ROWS)]
    random.Random(9).shuffle(times)
    unsorted = csv(tmp_path / "unsorted.csv", odd(ROWS, 3), times)
    assert replay(unsorted, build_reference(files[0], TIMED), None, TIMED).alarms == []


def test_an_empty_file_is_one_sentence(files: tuple[Path, Path], tmp_path: Path) -> None:
    for content in ("", ",".join(["t", *ODD]) + "\n"):
        path = tmp_path / "empty.csv"
        path.write_text(content)
        with pytest.raises(DataError, match="give a file with at least one row"):
            replay(path, build_reference(files[0], TIMED), None, TIMED)


@pytest.mark.parametrize("order", ["sorted", "shuffled"])
def test_check_drift_answers_about_odd_inputs_without_an_alarm(tmp_path: Path, order: str) -> None:
    config = {
        "storage": {"sqlite_path": str(tmp_path / "m.db")},
        "drift_detection": {"learn_reference": 500, "learn_reference_hours": 0},
    }
    monitor = EdgeMonitor(config=config)
    times = [1.7e9 + 60 * row for row in range(ROWS)]
    if order == "shuffled":
        random.Random(9).shuffle(times)
    for row, moment in zip(odd(ROWS, 4), times, strict=True):
        monitor.log_prediction(row, None, model="m", timestamp=moment)
    assert monitor.flush(timeout=60)
    answers = {result.feature: result for result in monitor.check_drift()}
    assert "inputs.fine" in answers
    assert not any(result.is_drift for result in answers.values())
    assert [event for event in monitor.events() if event.severity == "alarm"] == []
    monitor.stop()


def test_check_drift_with_references_of_one_row_or_no_value_says_nothing(tmp_path: Path) -> None:
    monitor = EdgeMonitor(config={"storage": {"sqlite_path": str(tmp_path / "m.db")}})
    monitor.set_reference_data("fine", [0.5])
    monitor.set_reference_data("missing", [None, None])
    for row in odd(200, 6):
        monitor.log_prediction({name: row[name] for name in ("fine", "missing")}, None, model="m")
    assert monitor.flush(timeout=60)
    assert not any(result.is_drift for result in monitor.check_drift())
    assert [event for event in monitor.events() if event.severity == "alarm"] == []
    monitor.stop()
