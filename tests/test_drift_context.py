"""Contexts: what normal depends on, such as the hour of the day or a recipe."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_mlops_monitor.cli import main
from edge_mlops_monitor.drift.autocorrelation import (
    autocorrelation_of_stretches,
    autocorrelation_time,
    design_effect,
)
from edge_mlops_monitor.drift.evidence import Evidence
from edge_mlops_monitor.drift.reference import build
from edge_mlops_monitor.drift.reference_file import dump, loads
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.watcher import Watcher
from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.records import Event
from edge_mlops_monitor.replay import Selection, build_reference

STREAM = ("oven", "1", None)
DAY = 480  # rows, one in three minutes
Columns = dict[str, Any]


def days(count: int, seed: int = 0, features: int = 3, wander: float = 0.0) -> Columns:
    """Features with a daily cycle; `wander` is how much whole days differ."""
    rng = np.random.default_rng(seed)
    rows = np.arange(count * DAY)
    cycle = np.sin(2 * np.pi * rows / DAY)[:, None]
    of_day = np.repeat(rng.normal(size=(count, features)) * wander, DAY, axis=0)
    data = cycle + of_day + 0.3 * rng.normal(size=(len(rows), features))
    return {f"inputs.x{i}": data[:, i] for i in range(features)}


def times(count: int, begin: int = 0) -> Any:
    return 180.0 * (begin + np.arange(count))


def cut(columns: Columns, begin: int, end: int | None = None) -> Columns:
    return {name: column[begin:end] for name, column in columns.items()}


def events(device: Watcher, columns: Columns, begin: int = 0) -> list[Event]:
    ts = times(len(next(iter(columns.values()))), begin)
    found = device.update(STREAM, columns, ts.tolist())
    return [one for one in found if isinstance(one, Event)]


def by_hour(columns: Columns) -> Any:
    return build(columns, context="hour_of_day", ts=times(len(columns["inputs.x0"])))


def test_a_daily_cycle_that_the_reference_knows_by_the_hour_raises_no_alarm_and_hides_no_shift() -> None:
    alarms, delays = 0, []
    for seed in range(6):
        data = days(14, seed)
        data["inputs.x0"][12 * DAY :] += 0.3  # one standard deviation of the noise, 0.4 of the whole
        device = Watcher(Settings(average_run_length=20_000), by_hour(cut(data, 0, 8 * DAY)))
        found = events(device, cut(data, 8 * DAY), 8 * DAY)
        alarms += sum(one.data["row"] < 4 * DAY for one in found)
        delays += [one.data["row"] - 4 * DAY for one in found if one.data["row"] >= 4 * DAY][:1]
    assert alarms <= 1
    assert len(delays) == 6
    assert np.median(delays) < 90


def test_without_the_hour_the_same_data_are_not_enough_reference() -> None:
    data = days(8)
    device = Watcher(Settings(average_run_length=20_000), build(data))
    events(device, cut(data, 0, 500))
    assert {one["state"] for one in device.status()[STREAM].values()} == {"not_enough_reference"}


def test_days_that_differ_from_each_other_are_said_to_be_too_few() -> None:
    references = by_hour(days(8, wander=0.3))
    assert all("no context (hour_of_day)" in one.lacks for one in references)


def test_a_few_nights_tell_nothing_of_nights() -> None:
    [reference] = by_hour(days(3, features=1))
    assert "of some days" in reference.lacks


def test_a_shift_at_night_alone_is_found_by_the_nights() -> None:
    data = days(16, 5)
    hour = np.arange(16 * DAY) % DAY // (DAY // 24)
    data["inputs.x1"][(hour < 4) & (np.arange(16 * DAY) >= 10 * DAY)] += 0.5
    device = Watcher(Settings(average_run_length=20_000), by_hour(cut(data, 0, 8 * DAY)))
    found = events(device, cut(data, 8 * DAY), 8 * DAY)
    assert [one.data["feature"] for one in found if one.severity == "alarm"] == ["inputs.x1"]
    assert 2 * DAY <= found[0].data["row"] < 2 * DAY + 100


def recipes(rows: int, seed: int = 1) -> Columns:
    """A recipe that changes every 40 rows, and a number and a category that depend on it."""
    rng = np.random.default_rng(seed)
    recipe = np.array(["bread", "cake", "pie"])[np.arange(rows) // 40 % 3]
    centre = np.select([recipe == "bread", recipe == "cake"], [200.0, 180.0], 220.0)
    crust = np.where(rng.random(rows) < np.where(recipe == "bread", 0.8, 0.2), "hard", "soft")
    return {
        "inputs.recipe": recipe.tolist(),
        "inputs.heat": centre + 3 * rng.normal(size=rows),
        "outputs.crust": crust.tolist(),
    }


def test_what_depends_on_a_recipe_is_held_against_its_own_recipe() -> None:
    data = recipes(8000)
    at = np.array(data["inputs.recipe"])
    data["inputs.heat"][(at == "cake") & (np.arange(8000) >= 6000)] += 4
    device = Watcher(Settings(average_run_length=20_000), build(cut(data, 0, 4000), context="recipe"))
    assert [bool(one.contexts) for one in device.references()] == [False, True, True]
    found = [one for one in events(device, cut(data, 4000)) if one.severity == "alarm"]
    assert [one.data["feature"] for one in found] == ["inputs.heat"]
    assert 2000 <= found[0].data["row"] < 2200


def test_a_recipe_that_was_never_seen_decides_nothing_about_what_depends_on_it() -> None:
    data = recipes(4400)
    data["inputs.heat"][4000:] = 200 + 5 * np.sin(0.7 * np.arange(400))
    data["inputs.recipe"][4000:] = ["scone"] * 400
    device = Watcher(Settings(average_run_length=20_000), build(cut(data, 0, 4000), context="recipe"))
    found = [one for one in events(device, cut(data, 4000)) if one.severity == "alarm"]
    assert [one.data["feature"] for one in found] == ["inputs.recipe"]  # the news is the recipe


def test_rows_of_no_known_context_are_held_against_all_contexts() -> None:
    """A change that is dated may reach back to rows of which none counted."""
    reference = by_hour(days(8))
    evidence = Evidence([feature for feature in reference if feature.contexts][:1])
    null = evidence.null(0, np.zeros((1, len(evidence.labels))))
    assert np.all(null > 0)
    assert null.sum() == pytest.approx(evidence.base.sum())


def test_cells_that_one_context_has_more_of_than_another_make_no_rows_depend_on_each_other() -> None:
    rng = np.random.default_rng(3)
    contexts = np.repeat(["a", "b", "c", "d"] * 5, 100)
    shares = {"a": [0.1, 0.9], "b": [0.5, 0.5], "c": [0.9, 0.1], "d": [0.5, 0.5]}
    codes = np.array([rng.choice(2, p=shares[one]) for one in contexts.tolist()])
    assert autocorrelation_time(codes, 3) > 10
    assert autocorrelation_time(codes, 3, contexts=contexts.tolist()) == 1.0
    stretches = autocorrelation_of_stretches(codes, 3, 10)
    assert stretches[1] < 300
    assert autocorrelation_of_stretches(codes, 3, 10, contexts=contexts.tolist()) == (1.0, 2000.0)


def test_what_a_context_alone_decides_hides_no_dependence_of_the_rest_and_gives_no_warning() -> None:
    contexts = ["a", "b"] * 1000
    slow = np.repeat(np.random.default_rng(4).integers(1, 3, 50), 20)  # in b; in a it is always 0
    codes = np.stack((np.zeros(1000, dtype=np.int64), slow), axis=1).ravel()
    assert autocorrelation_time(codes, 4, contexts=contexts) > 10
    assert autocorrelation_of_stretches(codes, 4, 10, contexts=contexts)[0] > 5
    of_days = np.repeat(slow[::20], 40)
    codes = np.where(np.array(contexts) == "a", 0, of_days)
    assert design_effect(codes, 4, 0, np.arange(2000) // 40, contexts) > 10


def by_the_clock(count: int) -> Columns:
    """The hour itself, a set point, a mode, and what is 0 all night; beside them what is never the same."""
    rng, hour = np.random.default_rng(5), times(count * DAY) / 3600 % 24
    sun = np.maximum(np.sin(np.pi * (hour - 6) / 12), 0.0)
    return {
        "inputs.hour": np.floor(hour),
        "inputs.target": np.where(hour < 7, 16.5, 21.3),
        "inputs.mode": ["night" if one < 7 else "day" for one in hour.tolist()],
        "inputs.sun": sun * rng.beta(5, 1, len(hour)),
        "inputs.x0": rng.normal(size=len(hour)),
    }


@pytest.mark.parametrize("learned", [False, True])
def test_what_holds_one_value_in_each_hour_is_no_change_and_another_one_is(learned: bool) -> None:
    data = by_the_clock(41)
    given = None if learned else by_hour(cut(data, 0, 10 * DAY))
    device = Watcher(Settings(average_run_length=5000, context="hour_of_day"), given)
    found = events(device, cut(data, 0 if learned else 10 * DAY, 40 * DAY), 0 if learned else 10 * DAY)
    clocked = {"inputs.hour", "inputs.target", "inputs.mode", "inputs.sun"}
    assert not clocked & {one.data["feature"] for one in found}
    changed = {
        **data,
        "inputs.target": data["inputs.target"] + 1,
        "inputs.mode": ["off"] * len(data["inputs.x0"]),
    }
    found = events(device, cut(changed, 40 * DAY, 40 * DAY + 100), 40 * DAY)
    assert {one.data["feature"] for one in found} == {"inputs.target", "inputs.mode"}


def test_numbers_near_the_end_of_the_range_have_a_mean_in_their_context() -> None:
    values = np.random.default_rng(6).uniform(-1, 1, 8 * DAY) * 1e308
    [found] = by_hour({"inputs.x0": values})
    assert all(0 < one.spread < 1e308 and abs(one.mean) < 1e308 for one in found.contexts.values())


def test_what_stands_still_at_night_only_is_not_stuck_there() -> None:
    rng, hour = np.random.default_rng(8), times(20 * DAY) / 3600 % 24
    dry = rng.random((2, 20 * DAY)) < np.where(hour < 7, 0.98, 0.6)
    rain = np.where(dry, 0.0, rng.gamma(2, size=dry.shape))
    data = {"inputs.x0": rain[0], "inputs.x1": rain[1]}
    device = Watcher(Settings(average_run_length=5000, context="hour_of_day"))
    assert events(device, data) == []
    assert {one["state"] for one in device.status()[STREAM].values()} == {"fine"}
    assert all(0.98 < one.runs.repeat_share < 1 for one in device.references() if one.pairs is None)


@pytest.mark.parametrize("learned", [False, True])
def test_what_is_off_in_some_recipes_is_not_stuck_there_and_elsewhere_it_is(learned: bool) -> None:
    rng = np.random.default_rng(9)
    recipes = [f"r{one}" for one in rng.integers(0, 8, 500).tolist() for _ in range(20)]
    off = np.array([one > "r2" for one in recipes])
    data = {"inputs.recipe": recipes, "inputs.flow": np.where(off, 0.0, rng.gamma(2, size=len(off)))}
    settings = Settings(
        average_run_length=5000, context="recipe", learn_reference=3000, learn_reference_hours=0
    )
    device = Watcher(settings, None if learned else build(cut(data, 0, 3000), context="recipe"))
    assert events(device, cut(data, 0 if learned else 3000)) == []
    rest = {"inputs.recipe": ["r7"] * 1000 + ["r1"] * 100, "inputs.flow": [0.0] * 1000 + [1.25] * 100}
    found = [one for one in events(device, rest, 10_000) if one.data["feature"] == "inputs.flow"]
    assert [(one.type, one.data["value"]) for one in found] == [("stuck", 1.25)]


def test_references_with_contexts_survive_the_file_and_lies_in_it_are_refused() -> None:
    references = by_hour(days(8, features=1))
    assert loads(dump(references)) == references
    told = json.loads(dump(references))
    told["features"][0]["contexts"]["07"]["edges"][0] = 9e9
    with pytest.raises(DataError, match="contexts that do not fit"):
        loads(json.dumps(told))


@pytest.mark.parametrize("cuts", [[1, 333, 4000], [2501, 2502, 3000]])
def test_cuts_and_restarts_change_no_decision_in_contexts_either(cuts: list[int]) -> None:
    data = days(20, 3)
    data["inputs.x2"][15 * DAY :] += 0.4
    settings = Settings(false_alarms_per_month=3, context="hour_of_day", learn_reference=500)
    whole = Watcher(settings)
    expected = whole.update(STREAM, data, times(20 * DAY).tolist())
    assert [one.severity for one in expected if isinstance(one, Event)][:1] == ["alarm"]
    device, found, edges = Watcher(settings), [], [0, *cuts, 20 * DAY]
    for begin, end in pairwise(edges):
        found += device.update(STREAM, cut(data, begin, end), times(end - begin, begin).tolist())
        state = device.state()
        device = Watcher(settings)
        assert device.restore(state)
        assert device.state() == state
    assert found == expected


@pytest.mark.parametrize("minute", [0, 10, 30, 50])
def test_what_runs_for_some_minutes_of_each_hour_is_no_news_after_a_week_of_it(minute: int) -> None:
    """A row a minute; had every second block been kept, it would be the same part of each hour."""
    rng, rows = np.random.default_rng(12), np.arange(12 * 24 * 60)
    runs = (rows % 60 >= minute) & (rows % 60 < minute + 10)
    values = np.where(runs, 10.0, 0.0) + rng.normal(size=len(rows))
    device = Watcher(Settings(average_run_length=20_000, context="hour_of_day"))
    found = device.update(STREAM, {"inputs.x0": values}, (60.0 * rows).tolist())
    assert [one for one in found if isinstance(one, Event) and one.severity == "alarm"] == []


def test_a_category_that_is_frequent_at_noon_and_rare_at_night_is_decided_about() -> None:
    rng, rows = np.random.default_rng(11), np.arange(30 * DAY)
    share = 0.5 + 0.4 * np.sin(2 * np.pi * rows / DAY)
    cats = np.where(rng.random(len(rows)) < share, "cat", "dog")
    idle = np.where(rng.random(len(rows)) < share, 0.0, rng.exponential(size=len(rows)))
    data = {"inputs.x0": cats.tolist(), "inputs.x1": idle}
    device = Watcher(Settings(average_run_length=1e6), by_hour(cut(data, 0, 10 * DAY)))
    assert events(device, cut(data, 10 * DAY, 20 * DAY), 10 * DAY) == []
    dogs = [one if one == "cat" or rng.random() < 0.5 else "fox" for one in data["inputs.x0"][20 * DAY :]]
    changed = {"inputs.x0": dogs, "inputs.x1": idle[20 * DAY :] + 0.5}
    found = events(device, changed, 20 * DAY)
    assert {one.data["feature"] for one in found if one.severity == "alarm"} == {"inputs.x0", "inputs.x1"}


def test_a_reference_by_the_hour_is_learned_over_a_week() -> None:
    data = days(8)
    device = Watcher(Settings(false_alarms_per_month=1, context="hour_of_day"))
    events(device, cut(data, 0, 4 * DAY))
    states = device.status()[STREAM].values()
    assert all(one["state"] == "learning" and "hours" in one["missing"] for one in states)
    events(device, cut(data, 4 * DAY), 4 * DAY)
    assert {one["state"] for one in device.status()[STREAM].values()} == {"fine"}
    assert all(len(one.contexts) == 24 for one in device.references() if one.pairs is None)


def written(path: Path, rows: int = 8 * DAY) -> Path:
    data = days(8, features=1)["inputs.x0"]
    lines = [f"{180 * row},{value:.4f}" for row, value in enumerate(data[:rows].tolist())]
    path.write_text("\n".join(["t,x", *lines]) + "\n")
    return path


def test_reference_build_takes_a_context_and_show_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, reference = written(tmp_path / "week.csv"), tmp_path / "ref.json"
    options = ["--timestamp", "t", "--context", "hour_of_day", "-o", str(reference)]
    assert main(["reference", "build", str(path), *options]) == 0
    assert "by hour_of_day (24)" in capsys.readouterr().out
    assert len(loads(reference.read_text())[0].contexts) == 24


def test_a_context_that_is_not_in_the_data_is_one_sentence(tmp_path: Path) -> None:
    path = written(tmp_path / "week.csv", 100)
    with pytest.raises(DataError, match="give --timestamp"):
        build_reference(path, Selection(inputs=["x"]), context="hour_of_day")
    with pytest.raises(DataError, match="has no column 'recipe'"):
        build_reference(path, Selection(timestamp="t"), context="recipe")
