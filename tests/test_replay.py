"""Replay: the device's decisions over recorded data."""

from __future__ import annotations

import csv as csv_module
import gzip
import json
import random
from pathlib import Path

import numpy as np
import pytest

from edge_mlops_monitor.dataset import Selection
from edge_mlops_monitor.drift.reference_file import dump
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.watcher import Watcher
from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.replay import build_reference, replay

FRAME = (
    Path(__file__).resolve().parents[2]
    / "shared"
    / "data"
    / "nannyml"
    / "inputs"
    / "seeded_week_frame.csv.gz"
)
COLUMNS = Selection(inputs=["f1", "f2", "f3", "f4"], outputs=["y_pred_proba"], timestamp="timestamp")
CHANGED = {"inputs.f1", "inputs.f2", "inputs.f3", "inputs.f4"}


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The reference, the rows after it, and the whole."""
    if not FRAME.exists():
        pytest.skip("NannyML's seeded frame is not here (../shared/data)")
    lines = gzip.decompress(FRAME.read_bytes()).decode().splitlines()
    folder = tmp_path_factory.mktemp("frame")
    before, after = folder / "before.csv", folder / "after.csv"
    before.write_text("\n".join(lines[:10_081]) + "\n")
    after.write_text("\n".join([lines[0], *lines[10_081:]]) + "\n")
    return before, after, FRAME


@pytest.mark.parametrize("settings", [Settings(), Settings(average_run_length=5000)], ids=["month", "rows"])
@pytest.mark.parametrize(("part", "change"), [(1, 5040), (2, 15_120)], ids=["rest", "whole"])
def test_the_published_frame_has_no_alarm_before_the_change_and_one_on_each_changed_feature(
    frame: tuple[Path, Path, Path], part: int, change: int, settings: Settings
) -> None:
    found = replay(frame[part], build_reference(frame[0], COLUMNS), settings, COLUMNS)
    assert found.predictions == (10_080, 20_160)[part - 1]
    assert {alarm["feature"] for alarm in found.alarms} == CHANGED
    assert len(found.alarms) == 4
    assert all(change <= alarm["index"] < change + 250 for alarm in found.alarms)
    assert all(abs(alarm["since_index"] - change) < 200 for alarm in found.alarms)
    assert found.recoveries == []
    assert found.not_enough_reference == []


def test_a_reference_learned_from_the_first_week_finds_the_change_too(frame: tuple[Path, Path, Path]) -> None:
    found = replay(frame[2], None, Settings(learn_reference_hours=24 * 7), COLUMNS)
    assert {alarm["feature"] for alarm in found.alarms} == CHANGED
    assert all(alarm["index"] >= 15_120 for alarm in found.alarms)


def csv(path: Path, rows: int, shift_from: int, sources: int = 1) -> Path:
    rng = random.Random(6)
    lines = ["t,line,a,b"]
    for row in range(rows):
        source = row % sources
        a = rng.gauss(1.0 if row >= shift_from and source == 0 else 0.0, 1)
        lines.append(f"{1_700_000_000 + 10 * row},s{source},{a},{rng.gauss(0, 1)}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_rows_are_counted_in_the_file_also_where_sources_take_turns(tmp_path: Path) -> None:
    selection = Selection(inputs=["a", "b"], timestamp="t", source="line")
    path = csv(tmp_path / "d.csv", 9000, 6000, sources=3)
    found = replay(path, None, Settings(learn_reference_hours=0, average_run_length=100_000), selection)
    (alarm,) = found.alarms
    assert (alarm["feature"], alarm["source"]) == ("inputs.a", "s0")
    assert 6000 <= alarm["index"] < 6600
    assert alarm["index"] % 3 == 0  # a row of that source
    assert alarm["ts"] == 1_700_000_000 + 10 * alarm["index"]
    assert abs(alarm["since_index"] - 6000) < 300
    assert alarm["effect"] == pytest.approx(1.0, abs=0.5)
    assert alarm["method"] == "e_detector"


def test_the_result_is_plain_json_and_progress_ends_at_the_whole(tmp_path: Path) -> None:
    path = csv(tmp_path / "d.csv", 4000, 3000)
    seen: list[float] = []
    found = replay(
        path, None, Settings(learn_reference_hours=0), Selection(timestamp="t"), progress=seen.append
    )
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["predictions"] == 4000
    assert plain["budget"] == {"algorithm": "e_detector", "false_alarms_per_month": 1.0}
    assert [alarm["feature"] for alarm in plain["alarms"]] == ["inputs.a"]
    assert seen == sorted(seen)
    assert seen[-1] <= 1.0


def test_a_reference_file_is_used_and_one_that_is_too_short_is_said(tmp_path: Path) -> None:
    path = csv(tmp_path / "d.csv", 400, 999)
    features = build_reference(path, Selection(inputs=["a", "b"]))
    reference = tmp_path / "reference.json"
    reference.write_text(dump(features))
    assert replay(path, reference, None, Selection(inputs=["a"], timestamp="t")).not_enough_reference == []
    short = csv(tmp_path / "short.csv", 30, 99)
    reference.write_text(dump(build_reference(short, Selection(inputs=["a"]))))
    found = replay(path, reference, None, Selection(inputs=["a"], timestamp="t"))
    assert found.not_enough_reference == ["inputs.a"]
    assert "30 rows" in found.missing["inputs.a"]
    assert found.alarms == []


def test_a_budget_in_time_needs_times(tmp_path: Path) -> None:
    path = csv(tmp_path / "d.csv", 100, 50)
    with pytest.raises(DataError, match="give --timestamp, or the budget in predictions"):
        replay(path)
    assert replay(path, None, Settings(average_run_length=1000)).predictions == 100


def test_references_are_built_for_each_source(tmp_path: Path) -> None:
    path = csv(tmp_path / "d.csv", 600, 600, sources=2)
    found = build_reference(path, Selection(inputs=["a"], source="line", timestamp="t"))
    assert [(one.name, one.source, one.n) for one in found] == [
        ("inputs.a", "s0", 300),
        ("inputs.a", "s1", 300),
    ]


def test_a_column_that_comes_late_does_not_shift_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    rows = [{"a": i} if i < 3000 else {"a": i, "b": i} for i in range(5000)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lengths = {one.name: (one.n, one.counts[-1]) for one in build_reference(path)}
    assert lengths == {"inputs.a": (5000, 0), "inputs.b": (5000, 3000)}


def test_csv_and_parquet_of_the_same_data_give_the_same_findings(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rng = random.Random(4)
    rows = [
        {
            "t": 1_700_000_000 + 60 * row,
            "a": rng.gauss(1.0 if row > 4000 else 0.0, 1),
            "b": None if rng.random() < 0.02 else rng.gauss(0, 1),
            "late": rng.gauss(0, 1) if row >= 1010 else None,
            "colour": rng.choice("rgb" if row < 5000 else "rgbx"),
            "none": None,
            "line": rng.choice(["A", "B"]),
        }
        for row in range(6000)
    ]
    with (tmp_path / "d.csv").open("w", newline="") as file:
        table = csv_module.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "d.parquet")
    for selection in (Selection(timestamp="t"), Selection(timestamp="t", source="line")):
        settings = Settings(learn_reference_hours=0)
        slow, fast = (
            replay(tmp_path / f"d.{kind}", None, settings, selection) for kind in ("csv", "parquet")
        )
        assert slow.to_dict() == fast.to_dict()
        assert slow.results == fast.results
        assert {"inputs.a", "inputs.colour"} <= {alarm["feature"] for alarm in fast.alarms}
        assert fast.not_enough_reference == ["inputs.none"]


def test_arrays_with_nan_and_lists_with_none_are_learned_and_decided_about_alike() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(size=(4000, 3))
    values[:1010, 1] = np.nan  # appears late
    values[rng.random(4000) < 0.1, 2] = np.nan
    values[3000:, 2] += 1
    arrays = {f"inputs.x{place}": values[:, place] for place in range(3)}
    lists = {name: [None if v != v else v for v in column.tolist()] for name, column in arrays.items()}
    found = []
    for columns in (arrays, lists):
        watcher = Watcher(Settings(average_run_length=1e5, learn_reference_hours=0))
        findings = []
        for begin in range(0, 4000, 300):  # which is no multiple of what is judged together
            part = {name: column[begin : begin + 300] for name, column in columns.items()}
            findings += watcher.update((None, None, None), part, np.zeros(len(part["inputs.x0"])))
        found.append((findings, watcher.references(), watcher.status()))
    assert found[0] == found[1]
    assert any(getattr(finding, "severity", "") == "alarm" for finding in found[0][0])


def test_without_times_a_reference_is_learned_from_rows_alone(tmp_path: Path) -> None:
    rng = random.Random(3)
    lines = [f"{rng.gauss(2.0 if row >= 2500 else 0.0, 1.0):.4f}" for row in range(3000)]
    path = tmp_path / "plain.csv"
    path.write_text("\n".join(["x", *lines]) + "\n")
    found = replay(path, settings=Settings(average_run_length=10_000))
    assert [(one["feature"], one["index"] >= 2500) for one in found.alarms] == [("inputs.x", True)]
    assert found.learning == []


def test_what_depends_on_the_hour_needs_times(tmp_path: Path) -> None:
    path = tmp_path / "plain.csv"
    path.write_text("x\n" + "1\n2\n" * 50)
    with pytest.raises(DataError, match="normal depends on the hour; give --timestamp"):
        replay(path, settings=Settings(average_run_length=10_000, context="hour_of_day"))


def test_without_times_a_message_names_the_row_of_the_file_and_not_the_prediction_of_its_source(
    tmp_path: Path,
) -> None:
    rng = random.Random(4)
    path = tmp_path / "two.csv"
    lines = [f"{'ab'[row % 2]},{rng.gauss(3.0 if row >= 3000 else 0.0, 1.0):.4f}" for row in range(3400)]
    path.write_text("\n".join(["line,x", *lines]) + "\n")
    found = replay(path, None, Settings(average_run_length=10_000), Selection(source="line"))
    assert {alarm["source"] for alarm in found.alarms} == {"a", "b"}
    for alarm in found.alarms:
        assert 2900 <= alarm["since_index"] <= 3010
        assert f"since row {alarm['since_index']} (" in alarm["message"]


@pytest.mark.parametrize("rows", [1, 3, 20])
def test_a_file_of_too_few_rows_for_an_answer_says_so(tmp_path: Path, rows: int) -> None:
    before, after = tmp_path / "before.csv", tmp_path / "after.csv"
    before.write_text("x\n" + "".join(f"{row * row % 101}\n" for row in range(500)))
    after.write_text("x\n" + "".join(f"{row * row % 101}\n" for row in range(rows)))
    found = replay(after, build_reference(before), Settings(average_run_length=10_000))
    assert (found.alarms, found.not_enough_data) == ([], ["inputs.x"])
    assert found.missing == {"inputs.x": "too few rows came for an answer"}
