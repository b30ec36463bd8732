"""The watcher: budget, delays, episodes, restarts, and whatever comes in."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edge_mlops_monitor.drift.reference import build
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.watcher import Watcher
from edge_mlops_monitor.records import DriftResult, Event

STREAM = ("detector", "3", "sensor-3")
OTHER = ("detector", "3", "sensor-4")
Columns = dict[str, list[Any]]


def columns(data: np.ndarray[Any, Any]) -> Columns:
    return {f"inputs.x{i}": data[:, i].tolist() for i in range(data.shape[1])}


def normal(rows: int, features: int = 2, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=(rows, features))


def watcher(reference: Columns | None = None, **given: Any) -> Watcher:
    given = {"average_run_length": 50_000.0, "learn_reference_hours": 0.0, **given}
    return Watcher(Settings(**given), build(reference) if reference else None)


def run(
    watcher: Watcher, columns: Columns, start: float = 0.0, step: float = 1.0, size: int = 500
) -> list[Any]:
    rows = len(next(iter(columns.values())))
    found: list[Any] = []
    for i in range(0, rows, size):
        part = {name: column[i : i + size] for name, column in columns.items()}
        found += watcher.update(STREAM, part, [start + step * j for j in range(i, min(rows, i + size))])
    return found


def events(found: Sequence[Any], type: str | None = None) -> list[Event]:
    return [one for one in found if isinstance(one, Event) and type in (None, one.type)]


def state(watcher: Watcher, feature: str = "inputs.x0") -> str:
    return str(watcher.status()[STREAM][feature]["state"])


# - the budget -


@pytest.mark.parametrize(
    "case", ["independent", "autocorrelated", "ties", "categories", "heavy tails", "missing"]
)
def test_healthy_data_raise_no_more_alarms_than_the_budget(case: str) -> None:
    """Twenty budgets: 31 alarms or more would have a probability below 1 % at a rate of 1."""
    rng = np.random.default_rng(7)
    alarms = 0
    for _ in range(10):
        data: Any = rng.normal(size=(1500 + 4000, 5))
        if case == "autocorrelated":
            for row in range(1, len(data)):
                data[row] = 0.6 * data[row - 1] + 0.8 * data[row]
        elif case == "ties":
            data = np.round(data * 2)
        elif case == "categories":
            data = rng.choice(list("abcdef"), size=data.shape, p=(0.4, 0.3, 0.2, 0.05, 0.04, 0.01))
        elif case == "heavy tails":
            data = rng.standard_t(1, size=data.shape)
        elif case == "missing":
            data[rng.random(data.shape) < 0.02] = np.nan
        device = watcher(columns(data[:1500]), average_run_length=2000.0, minimum_effect=0.0)
        alarms += len(events(run(device, columns(data[1500:]))))
    assert alarms <= 30


def test_the_budget_holds_over_references_that_are_short_too() -> None:
    rng = np.random.default_rng(8)
    alarms = 0
    for _ in range(20):
        data = rng.normal(size=(150 + 1000, 5))
        device = watcher(columns(data[:150]), average_run_length=1000.0, minimum_effect=0.0)
        alarms += len(events(run(device, columns(data[150:]))))
    assert alarms <= 30


def test_what_a_short_reference_does_not_tell_of_dependence_is_learned_from_healthy_rows() -> None:
    rng = np.random.default_rng(2)
    data = np.ones((20_300, 16))
    noise = rng.normal(size=data.shape)
    variance = np.ones(16)
    for row in range(1, len(data)):  # quiet and restless times (GARCH), which 300 rows do not show
        variance = 0.05 + 0.15 * data[row - 1] ** 2 + 0.8 * variance
        data[row] = np.sqrt(variance) * noise[row]
    device = watcher(columns(data[:300]), average_run_length=5000.0)
    rows = [one.data["row"] for one in events(run(device, columns(data[300:]), size=1000), "drift")]
    assert sum(row < 5000 for row in rows) >= 10  # the reference does not tell
    assert sum(row >= 10_000 for row in rows) <= 18  # in two budgets


def test_a_time_budget_is_spent_by_time_and_not_by_rows_or_gaps() -> None:
    """A fast stream and a slow one of the same data need about the same evidence a month."""
    from edge_mlops_monitor.drift.budget import MAX_GAP, Spending

    spending = Spending(Settings(false_alarms_per_month=1))
    month = 30 * 86400.0
    fast, newest = spending.shares(np.linspace(0, month, 100_000), math.nan)
    assert fast.sum() == pytest.approx(1.0)
    off, newest = spending.shares(np.array([newest + 7 * 86400.0]), newest)
    assert off.sum() == pytest.approx(MAX_GAP / month)
    late, newest = spending.shares(np.array([newest - 5.0, newest + 1.0]), newest)
    assert late.sum() == pytest.approx(1.0 / month)
    back, newest = spending.shares(np.array([1000.0, 1001.0]), newest)
    assert back.sum() == 0.0  # the clock was set back; an hour later it counts again
    again, newest = spending.shares(np.array([1000.0 + MAX_GAP, 1002.0 + MAX_GAP]), newest)
    assert again.sum() == pytest.approx(2.0 / month)


def test_rows_in_any_order_do_not_spend_the_same_hours_again() -> None:
    from edge_mlops_monitor.drift.budget import Spending

    times = np.random.default_rng(4).permutation(2000) * 60.0
    parts, newest = Spending(Settings()), math.nan
    whole, _ = Spending(Settings()).shares(times, newest)
    shares = []
    for begin in range(0, 2000, 50):
        share, newest = parts.shares(times[begin : begin + 50], newest)
        shares += share.tolist()
    assert shares == whole.tolist()
    assert whole.sum() <= 2000 * 60 / (30 * 86400)


def test_features_of_other_streams_share_the_budget() -> None:
    reference = columns(normal(1000))
    device = watcher(reference, false_alarms_per_month=1.0, average_run_length=None)
    run(device, columns(normal(100, seed=1)))
    assert device.watched(device._streams[STREAM]) == 3  # how the two go together is one more
    device.update(OTHER, columns(normal(100, seed=2)), [float(i) for i in range(100)])
    assert device.watched(device._streams[STREAM]) == 6
    device.update(OTHER, columns(normal(50, seed=3)), [2e5 + i for i in range(50)])
    assert device.watched(device._streams[OTHER]) == 3  # the silent stream gave its share back


# - changes -


def test_a_shift_is_one_alarm_that_says_what_since_when_and_how_much() -> None:
    data = normal(1000 + 4000)
    data[3000:, 1] += 0.7
    device = watcher(columns(data[:1000]))
    found = run(device, columns(data[1000:]), start=1_700_000_000.0)
    (alarm,) = events(found)
    assert alarm.type == "drift"
    assert alarm.severity == "alarm"
    assert alarm.data["feature"] == "inputs.x1"
    assert 2000 <= alarm.data["row"] < 2200
    assert abs(alarm.data["since_index"] - 2000) <= 100
    assert alarm.data["since"] == 1_700_000_000.0 + alarm.data["since_index"]
    assert alarm.ts == 1_700_000_000.0 + alarm.data["row"]
    assert alarm.data["effect"] == pytest.approx(0.7, abs=0.35)
    assert alarm.data["effect_unit"] == "reference sd"
    assert alarm.message.startswith("sensor-3 inputs.x1 of detector 3 shifted by +")
    assert (alarm.data["model"], alarm.data["source"]) == ("detector", "sensor-3")
    stored = [one for one in found if isinstance(one, DriftResult) and one.is_drift]
    assert stored[0].feature == "inputs.x1"
    assert device.status()[STREAM]["inputs.x1"]["event"] == alarm.id
    assert state(device) == "fine"


@pytest.mark.parametrize(
    ("change", "unit", "word"),
    [
        (lambda x: x * 2.0, "times reference sd", "spreads"),
        (lambda x: x * 0.4, "times reference sd", "shrinks"),
        (lambda x: np.where(np.arange(len(x)) % 4 == 0, np.nan, x), "share missing", "is missing in"),
        (lambda x: np.sign(x) * 1.0 + 0.02 * x, "total variation", "changed shape"),
    ],
)
def test_other_changes_are_named_for_what_they_are(change: Any, unit: str, word: str) -> None:
    data = normal(1000 + 2000, 1)
    data[1500:, 0] = change(data[1500:, 0])
    (alarm,) = events(run(watcher(columns(data[:1000])), columns(data[1000:])))
    assert alarm.type == ("missing" if unit == "share missing" else "drift")
    assert alarm.data["effect_unit"] == unit
    assert word in alarm.message
    assert alarm.data["row"] < 500 + 250


def test_a_category_names_the_one_that_changed_most() -> None:
    rng = random.Random(4)
    before = rng.choices("abc", (6, 3, 1), k=1000)
    after = rng.choices("abc", (6, 3, 1), k=500) + rng.choices("abcd", (3, 3, 1, 3), k=500)
    (alarm,) = events(run(watcher({"inputs.x0": before}), {"inputs.x0": after}))
    assert 500 <= alarm.data["row"] < 600
    assert (alarm.type, alarm.data["effect_unit"]) == ("unseen_category", "share unseen")
    assert "holds unseen categories in 60% of rows" in alarm.message
    assert alarm.data["sample_size"] == 5


def test_what_is_on_or_off_tells_how_often_it_is_on() -> None:
    rng = np.random.default_rng(5)
    shares = np.repeat([0.1, 0.1, 0.3], [1000, 500, 500])
    data = (rng.random((2000, 1)) < shares[:, None]).astype(float)
    (alarm,) = events(run(watcher(columns(data[:1000])), columns(data[1000:])))
    assert (alarm.type, alarm.data["effect_unit"]) == ("drift", "share of rows")
    assert alarm.data["before"] == {"value": "1", "share": pytest.approx(0.1, abs=0.03)}
    assert 0.1 < alarm.data["effect"] < 0.5
    assert "inputs.x0 of detector 3 is 1 in " in alarm.message


def test_a_constant_with_rare_blips_of_any_height_raises_no_more_alarms_than_allowed() -> None:
    rng = np.random.default_rng(6)
    alarms = 0
    for _ in range(5):
        blips = rng.random((3000 + 5000, 10)) < 0.002
        data = np.where(blips, 50 + rng.normal(size=blips.shape), 20.0)
        device = watcher(columns(data[:3000]), average_run_length=5000.0)
        alarms += len(events(run(device, columns(data[3000:]))))
    assert alarms <= 5


def test_what_was_constant_is_told_in_its_own_unit() -> None:
    data = np.repeat([20.0, 20.0, 23.5], [1000, 500, 500])[:, None]
    (alarm,) = events(run(watcher(columns(data[:1000])), columns(data[1000:])))
    assert (alarm.data["effect"], alarm.data["effect_unit"]) == (pytest.approx(3.5), "its own unit")
    assert "inputs.x0 of detector 3 is no longer constant since " in alarm.message
    assert alarm.message.endswith("(mean 20 -> 23.5)")


def test_a_category_that_vanishes_is_named_and_not_the_one_that_gains() -> None:
    rng = random.Random(4)
    before = rng.choices("abc", (80, 15, 5), k=2000)
    after = rng.choices("ab", (85, 15), k=1500)
    (alarm,) = events(run(watcher({"inputs.x0": before}), {"inputs.x0": after}))
    assert alarm.data["before"]["category"] == "c"
    assert alarm.data["after"]["share"] == 0.0


def test_recovery_is_one_event_and_a_second_episode_another_alarm() -> None:
    data = normal(1000 + 9000, 1)
    for begin in (2000, 6000):
        data[1000 + begin : 1000 + begin + 2000] += 1
    device = watcher(columns(data[:1000]))
    found = events(run(device, columns(data[1000:])))
    assert [one.type for one in found] == ["drift", "recovery", "drift", "recovery"]
    rows = [one.data["row"] for one in found]
    for row, change in zip(rows, (2000, 4000, 6000, 8000), strict=True):
        assert change <= row < change + 250
    assert found[1].severity == "info"
    assert len({one.id for one in found}) == 4
    assert state(device) == "fine"


def test_a_lasting_change_is_reported_once_however_long_it_lasts() -> None:
    data = normal(1000 + 20_000, 1)
    data[1500:] += 0.5
    device = watcher(columns(data[:1000]))
    found = run(device, columns(data[1000:]))
    assert [one.type for one in events(found)] == ["drift"]
    assert state(device) == "alarm"
    assert len(found) < 30  # with results on change and about once an hour


def test_a_change_that_becomes_smaller_is_no_recovery() -> None:
    for seed in range(6):
        data = normal(1000 + 3000, 1, seed)
        data[1500:2000] += 1.2
        data[2000:] += 0.5
        found = events(run(watcher(columns(data[:1000]), average_run_length=5000), columns(data[1000:])))
        assert [one.type for one in found] == ["drift"]


def test_trifles_below_the_minimum_effect_are_not_reported() -> None:
    data = normal(20_000 + 20_000, 1)
    data[20_000:] += 0.1
    found = [
        events(run(watcher(columns(data[:20_000]), minimum_effect=effect), columns(data[20_000:])))
        for effect in (0.0, 0.25)
    ]
    assert [bool(one) for one in found] == [True, False]


def test_an_outlier_in_the_reference_blinds_nothing() -> None:
    data = normal(1000 + 1500, 1)
    data[10] = 1e3
    data[1500:] += 0.5
    (alarm,) = events(run(watcher(columns(data[:1000])), columns(data[1000:])))
    assert 500 <= alarm.data["row"] < 1000
    assert alarm.data["effect_unit"] == "reference IQR/1.349"
    assert alarm.data["effect"] == pytest.approx(0.5, abs=0.35)


# - since when, and how much -


def found_shifts(
    shift: float, reference: int, healthy: int, runs: int, trifle: float = 0.0
) -> list[tuple[int, int, float]]:
    """Delay, error of the onset and error of the effect of each alarm, four features a run.

    The last `healthy` rows before the shift are off by `trifle`.
    """
    rng = np.random.default_rng(12)
    found = []
    for _ in range(runs):
        data = rng.normal(size=(reference + healthy + 1500, 4))
        data[reference:] += trifle
        data[reference + healthy :] += shift
        device = watcher(columns(data[:reference]), average_run_length=250_000.0)
        for one in events(run(device, columns(data[reference:]), size=2000), "drift"):
            if one.data["row"] >= healthy:
                delay, error = one.data["row"] + 1 - healthy, one.data["since_index"] - healthy
                found.append((delay, error, one.data["effect"] - shift - trifle))
    return found


@pytest.mark.parametrize(("shift", "nine_in_ten", "effect"), [(0.5, 65, 0.1), (1.0, 25, 0.2)])
def test_an_alarm_after_a_long_healthy_time_tells_since_when_and_how_much(
    shift: float, nine_in_ten: int, effect: float
) -> None:
    found = found_shifts(shift, 1000, 8013, 10)
    assert len(found) == 40
    errors = np.abs([error for _, error, _ in found])
    assert np.median(errors) <= 13  # half a block: older changes are known to 25 rows
    assert np.quantile(errors, 0.9) <= nine_in_ten
    assert np.median(np.abs([error for _, _, error in found])) < effect


def test_a_real_change_is_not_held_back_for_the_healthy_rows_before_it() -> None:
    found = found_shifts(0.5, 300, 437, 15)
    assert len(found) == 60
    delays = [delay for delay, _, _ in found]
    assert np.quantile(delays, 0.95) <= 350
    assert max(delays) <= 900


def test_a_real_change_on_top_of_a_trifle_that_is_held_back_is_reported_at_once() -> None:
    found = found_shifts(1.0, 50_000, 4013, 4, trifle=0.07)
    assert len(found) >= 12
    assert max(delay for delay, _, _ in found) <= 100
    assert np.quantile([abs(error) for _, error, _ in found], 0.9) <= 60


def test_a_fault_that_comes_and_goes_in_dependent_rows_is_not_dated_long_before_it() -> None:
    errors = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        data = dependent(rng.normal(size=8500), 1, 0.6)
        data[3500:] += np.where(rng.random(5000) < 0.1, 4.0, 0.0)
        device = watcher(columns(data[:1000, None]))
        found = events(run(device, columns(data[1000:, None])), "drift")
        errors += [one.data["since_index"] - 2500 for one in found if one.data["row"] >= 2500]
    assert len(errors) >= 10
    assert sum(error < -1500 for error in errors) <= 3
    assert np.median(np.abs(errors)) <= 300


def test_a_trifle_is_never_reported_however_long_it_lasts() -> None:
    rng = np.random.default_rng(13)
    device = watcher({"inputs.x0": rng.normal(size=200_000).tolist()}, average_run_length=1e6)
    live = {"inputs.x0": (rng.normal(size=150_000) + 0.02).tolist()}
    assert events(run(device, live, size=5000)) == []


# - stuck -


def test_a_stuck_sensor_is_reported_as_stuck_once_and_not_as_drift() -> None:
    data = normal(1000 + 3000, 2)
    data[2000:3000, 0] = 1.25
    device = watcher(columns(data[:1000]))
    found = events(run(device, columns(data[1000:2500]), start=1e9))
    (alarm,) = found
    assert alarm.type == "stuck"
    assert alarm.data["feature"] == "inputs.x0"
    assert 1000 <= alarm.data["row"] < 1050
    assert alarm.data["since_index"] == 1000
    assert alarm.data["since"] == 1e9 + 1000
    assert alarm.data["value"] == 1.25
    assert state(device) == "stuck"
    (recovery,) = events(run(device, columns(data[2500:]), start=1e9 + 1500))
    assert recovery.type == "recovery"
    assert recovery.data["of"] == "stuck"
    assert 2000 <= recovery.data["row"] < 2075
    assert state(device) == "fine"


def test_runs_as_long_as_the_reference_knows_them_are_not_stuck() -> None:
    rng = np.random.default_rng(3)
    slow = np.round(np.repeat(rng.normal(size=2000), rng.integers(1, 12, size=2000)) * 50) / 50
    reference, live = slow[:6000], slow[6000:]
    device = watcher({"inputs.x0": reference.tolist()})
    assert events(run(device, {"inputs.x0": live.tolist()})) == []


def test_constants_and_switches_are_not_stuck() -> None:
    live: Columns = {"inputs.x0": [7.0] * 3000, "inputs.x1": ([0.0] * 500 + [1.0] * 500) * 3}
    device = watcher(live)
    assert events(run(device, live), "stuck") == []


# - learning -


def test_a_reference_is_learned_from_rows_and_hours_and_until_then_nothing_is_said() -> None:
    data = normal(6000, 1, seed=2)  # one in ten goes on learning by chance
    device = watcher(learn_reference=500, learn_reference_hours=1.0)
    assert run(device, columns(data[:3000])) == []
    status = device.status()[STREAM]["inputs.x0"]
    assert status["state"] == "learning"
    assert status["missing"] == "0.2 hours"
    run(device, columns(data[3000:]), start=3000.0)
    assert state(device) == "fine"
    (learned,) = device.references()
    assert 500 <= learned.n <= 1100  # bounded, though 3600 rows were seen
    assert (learned.model, learned.source) == ("detector", "sensor-3")


def test_a_night_that_was_not_seen_is_not_enough_reference_but_no_alarm() -> None:
    rng = np.random.default_rng(2)
    day = np.sin(2 * np.pi * np.arange(6 * 1440) / 1440) + 0.3 * rng.normal(size=6 * 1440)
    device = watcher(learn_reference=1000, learn_reference_hours=24.0, average_run_length=5000.0)
    found = run(device, {"inputs.x0": day.tolist()}, step=60.0)
    assert events(found) == []
    assert state(device) in ("not_enough_reference", "learning")


def test_a_reference_too_short_for_its_autocorrelation_says_what_is_missing() -> None:
    rng = np.random.default_rng(5)
    walk = np.zeros(1000)
    for i in range(1, 1000):
        walk[i] = 0.98 * walk[i - 1] + rng.normal()
    device = watcher({"inputs.x0": walk.tolist()})
    run(device, {"inputs.x0": walk.tolist()})
    status = device.status()[STREAM]["inputs.x0"]
    assert status["state"] == "not_enough_reference"
    assert "worth about" in status["missing"]
    assert "give about" in status["missing"]


def test_rebaseline_forgets_the_alarm_and_learns_the_new_normal() -> None:
    data = normal(1000 + 6000, 2)
    data[1500:, 0] += 2
    device = watcher(columns(data[:1000]))
    run(device, columns(data[1000:2000]))
    assert state(device) == "alarm"
    assert device.rebaseline(source="sensor-3", feature="x0") == 1
    assert events(run(device, columns(data[2000:]))) == []
    assert state(device) == "fine"
    means = {one.name: one.mean for one in device.references() if one.source == "sensor-3"}
    assert means["inputs.x0"] == pytest.approx(2.0, abs=0.2)


def test_a_new_reference_takes_the_place_of_the_old() -> None:
    data = normal(3000, 1) + 5
    device = watcher(columns(normal(1000, 1)))
    run(device, columns(data[:500]))
    assert state(device) == "alarm"
    device.set_reference("x0", data[500:1500, 0].tolist())
    assert events(run(device, columns(data[1500:]))) == []
    assert state(device) == "fine"


def test_acknowledge_marks_an_alarm_as_seen_until_it_is_over() -> None:
    data = normal(1000 + 4000, 1)
    data[1500:3000] += 1
    device = watcher(columns(data[:1000]))
    run(device, columns(data[1000:2000]))
    assert device.status()[STREAM]["inputs.x0"]["acknowledged"] is False
    assert device.acknowledge(OTHER, "inputs.x0") == 0
    assert device.acknowledge(STREAM, "inputs.x0") == 1
    assert device.status()[STREAM]["inputs.x0"]["acknowledged"] is True
    run(device, columns(data[2000:]))
    assert "acknowledged" not in device.status()[STREAM]["inputs.x0"]


# - state -


EXPECTED = {"drift", "stuck", "missing", "unseen_category", "recovery"}
EXPECTED |= {"type", "range", "spike", "dropout", "clipping"}


FAULTS: dict[str, Any] = {
    "type": lambda rng, x: [value if value < 0.5 else "n/a" for value in x.tolist()],
    "range": lambda rng, x: (x + 273.15).tolist(),
    "spike": lambda rng, x: np.where(rng.random(len(x)) < 0.06, x + 40, x).tolist(),
    "dropout": lambda rng, x: np.where(rng.random(len(x)) < 0.1, -999.0, x).tolist(),
    "clipping": lambda rng, x: np.minimum(x, 0.8).tolist(),
}


def dependent(noise: np.ndarray[Any, Any], begin: int, rho: float) -> np.ndarray[Any, Any]:
    """Standard normal rows that depend on the row before from row `begin` on."""
    found = noise.copy()
    for row in range(begin, len(found)):
        found[row] = rho * found[row - 1] + math.sqrt(1 - rho**2) * noise[row]
    return found


def changing(rows: int = 4000) -> Columns:
    rng = np.random.default_rng(11)
    data: Any = rng.normal(size=(rows, 4))
    data[:, 2] = np.round(data[:, 2])
    data[1500:2500, 0] += 1
    data[2000:2300, 1] = 0.5
    found = columns(data)
    found["inputs.c"] = [rng.choice(["a", "b", "c"]) for _ in range(rows)]
    found["inputs.c"][3000:] = ["d"] * (rows - 3000)
    found["inputs.late"] = [None] * 1010 + rng.normal(size=rows - 1010).tolist()
    found["inputs.x3"][700:900] = [None] * 200
    found["inputs.depends"] = dependent(np.random.default_rng(0).normal(size=rows), 500, 0.45).tolist()
    for number, (name, fault) in enumerate(FAULTS.items()):
        healthy = rng.normal(size=rows)
        healthy[rng.random(rows) < 0.01] = 0.5  # now and then the same, as a healthy sensor may be
        found[f"inputs.{name}"] = healthy.tolist()
        begin = 1200 + 130 * number
        found[f"inputs.{name}"][begin : begin + 600] = fault(rng, healthy[begin : begin + 600])
    return found


def cut(device: Watcher, data: Columns, cuts: list[int]) -> list[Any]:
    found: list[Any] = []
    rows = len(data["inputs.c"])
    edges = [0, *sorted(cuts), rows]
    for begin, end in pairwise(edges):
        part = {
            name: column[begin:end]
            for name, column in data.items()
            if any(v is not None for v in column[begin:end])
        }
        found += device.update(STREAM, part, [60.0 * i for i in range(begin, end)])
    return found


@settings(
    max_examples=8,
    phases=(Phase.explicit, Phase.generate),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(st.integers(0, 4000), max_size=60))
def test_findings_do_not_depend_on_how_the_rows_are_cut_into_calls(cuts: list[int]) -> None:
    data = changing()
    whole = watcher(learn_reference=500, average_run_length=None, false_alarms_per_month=20)
    expected = cut(whole, data, [])
    assert {one.type for one in events(expected)} == EXPECTED
    parts = watcher(learn_reference=500, average_run_length=None, false_alarms_per_month=20)
    assert cut(parts, data, cuts) == expected
    assert parts.state() == whole.state()


@settings(
    max_examples=8,
    phases=(Phase.explicit, Phase.generate),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(st.integers(1, 3999))
def test_a_restart_at_any_row_changes_no_decision(row: int) -> None:
    data = changing()
    options: dict[str, Any] = {
        "learn_reference": 500,
        "average_run_length": None,
        "false_alarms_per_month": 20,
    }
    whole = watcher(**options)
    expected = cut(whole, data, [row])
    first, second = watcher(**options), watcher(**options)
    times = [60.0 * i for i in range(4000)]
    found = first.update(STREAM, {name: column[:row] for name, column in data.items()}, times[:row])
    state = first.state()
    assert second.restore(state)
    assert second.state() == state
    assert second.check() == first.check()
    assert second.status() == first.status()
    found += second.update(STREAM, {name: column[row:] for name, column in data.items()}, times[row:])
    assert found == expected
    assert second.state() == whole.state()


def test_a_foreign_or_damaged_state_is_refused_and_the_watcher_goes_on() -> None:
    device = watcher(columns(normal(1000, 8)))
    run(device, columns(normal(500, 8, seed=1)))
    good = device.state()
    for bad in (b"", b"\x00" * 50, good[:-7], b"[1, 2]"):
        assert device.restore(bad) is False
    assert watcher(columns(normal(1000, 8, seed=5))).restore(good) is False  # other references
    assert watcher(columns(normal(1000, 8)), algorithm="ks_test").restore(good) is False
    assert watcher(columns(normal(1000, 8))).restore(good) is True
    assert len(good) / 8 < 8192  # bytes a feature


# - ks_test -


def test_ks_test_does_what_it_says_with_one_event_an_episode() -> None:
    data = normal(1000 + 6000, 1)
    data[3000:5000] += 1
    settings = Settings(algorithm="ks_test", threshold=0.001, check_frequency=100)
    device = Watcher(settings, build(columns(data[:1000]), keep_values=True))
    found = run(device, columns(data[1000:]))
    assert [one.type for one in events(found)] == ["drift", "recovery"]
    alarm = events(found)[0]
    assert alarm.data["row"] == 2099
    assert alarm.data["method"] == "ks_test"
    results = [one for one in found if isinstance(one, DriftResult)]
    assert len(results) == 60  # every window
    assert all(one.is_drift == (one.p_value is not None and one.p_value < 0.001) for one in results)
    assert len(device.check()) == 1


def test_ks_test_compares_every_row_of_a_window_also_those_beyond_the_reference() -> None:
    healthy = normal(2000, 1)
    device = Watcher(Settings(algorithm="ks_test"), build(columns(healthy), keep_values=True))
    run(device, columns(healthy[:300] + 50.0))
    (result,) = device.check()
    assert (result.is_drift, result.sample_size, result.statistic) == (True, 100, 1.0)


def test_ks_test_says_that_it_needs_the_raw_values() -> None:
    settings = Settings(algorithm="ks_test")
    device = Watcher(
        settings, build({"inputs.x0": [float(i) for i in range(100)], "inputs.c": ["a", "b"] * 50})
    )
    run(device, {"inputs.x0": [1.0] * 200, "inputs.c": ["a"] * 200})
    assert "raw values" in device.status()[STREAM]["inputs.x0"]["missing"]
    assert "compares numbers" in device.status()[STREAM]["inputs.c"]["missing"]


# - whatever comes in -


@pytest.mark.parametrize(
    "column",
    [
        [None] * 3000,
        [math.nan, math.inf, -math.inf] * 1000,
        [10**400, 2**60, -(2**60)] * 1000,
        ["a", 1.0, None, "1.5", True] * 600,
        [f"id-{i}" for i in range(3000)],
        [1e308, -1e308, 5e-324] * 1000,
        [0.0] * 3000,
        [float(i) for i in range(3000)],
    ],
    ids=["missing", "not finite", "huge", "mixed", "ids", "extremes", "constant", "counter"],
)
def test_odd_columns_are_taken_without_a_warning_or_an_alarm(column: list[Any]) -> None:
    device = watcher()
    found = run(device, {"inputs.x0": column, "inputs.ok": normal(3000, 1)[:, 0].tolist()})
    assert [one for one in events(found) if one.data["feature"] == "inputs.ok"] == []
    if column[0] != 0.0 or column[1] == 0.0:  # a counter does leave its reference
        assert [one for one in events(found) if column[:3] != [0.0, 1.0, 2.0]] == []
    Watcher.restore(watcher(), device.state())


@pytest.mark.parametrize("value", ["text", None, math.inf, 10**400, 1e300, -1e300])
def test_anything_may_arrive_where_a_number_is_expected(value: Any) -> None:
    device = watcher(columns(normal(1000, 1)))
    found = run(device, {"inputs.x0": [value] * 300})
    assert events(found)[0].type in ("drift", "missing", "range", "stuck", "type")
    assert run(device, {"inputs.x0": [[1], {}, b"x", object()] * 25}) is not None


def test_columns_may_vanish_and_appear() -> None:
    data = normal(1000 + 2000, 2)
    device = watcher(columns(data[:1000]))
    run(device, columns(data[1000:2000]))
    found = run(device, {"inputs.x0": data[2000:, 0].tolist()})
    assert [(one.data["feature"], one.data["effect_unit"]) for one in events(found)] == [
        ("inputs.x1", "share missing")
    ]
    run(device, {"inputs.x0": data[2000:2100, 0].tolist(), "inputs.new": [1.0] * 100})
    assert state(device, "inputs.new") == "learning"


def test_times_that_are_none_or_jump_are_taken() -> None:
    device = watcher(columns(normal(1000, 1)), average_run_length=None, false_alarms_per_month=1)
    times = [math.nan, 0.0, 4e9, 10.0, -5.0, math.inf, 1e300, 20.0] * 50
    found = events(device.update(STREAM, columns(normal(400, 1, seed=3)), times))
    assert [(one.type, one.severity) for one in found] == [("clock_jump", "warning")]
    shifted = columns(normal(400, 1, seed=4) + 3)
    assert len(events(device.update(STREAM, shifted, [2e9 + i for i in range(400)]))) == 1


def test_features_beyond_the_limit_are_said_once_and_cost_nothing() -> None:
    device = watcher(maximum_features=5)
    many: Columns = {f"inputs.f{i}": [0.5 * i] * 100 for i in range(50)}
    found = events(run(device, many, size=25))
    assert [one.type for one in found] == ["features_refused"]
    assert len(device.status()[STREAM]) == 5


def test_an_empty_call_is_nothing() -> None:
    device = watcher()
    assert device.update(STREAM, {}, []) == []
    assert device.update(STREAM, {"inputs.a": []}, []) == []
    assert device.status() == {}
    assert device.check() == []


def test_check_answers_at_once_for_every_watched_feature() -> None:
    data = normal(1000 + 1000, 2)
    data[1500:, 0] += 1
    device = watcher(columns(data[:1000]))
    run(device, columns(data[1000:]))
    answers = {one.feature: one for one in device.check()}
    assert answers["inputs.x0"].is_drift is True
    assert answers["inputs.x0"].effect is not None
    assert answers["inputs.x0"].effect > 0.3
    assert answers["inputs.x1"].is_drift is False
