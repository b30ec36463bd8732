"""Sampling: by rate, every nth, per minute; what failed is never dropped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_mlops_monitor import EdgeMonitor
from edge_mlops_monitor.capture.sampling import sampler
from edge_mlops_monitor.clock import ManualClock


@pytest.fixture
def sampled(tmp_path: Path) -> Iterator[Any]:
    made: list[EdgeMonitor] = []

    def make(**model_logging: Any) -> EdgeMonitor:
        config = {"storage": {"sqlite_path": str(tmp_path / "m.db")}, "model_logging": model_logging}
        made.append(EdgeMonitor(config=config))
        return made[-1]

    yield make
    for monitor in made:
        monitor.stop()


def test_without_sampling_there_is_no_sampler() -> None:
    assert sampler() is None
    assert sampler(rate=1.0, every=1) is None


def test_a_rate_keeps_that_share() -> None:
    keep = sampler(rate=0.2, seed=1)
    assert keep is not None
    assert sum(keep() for _ in range(10_000)) == pytest.approx(2000, abs=160)  # four standard deviations
    none = sampler(rate=0.0)
    assert none is not None
    assert not any(none() for _ in range(1000))


def test_a_budget_per_minute_is_refilled_evenly() -> None:
    clock = ManualClock()
    keep = sampler(per_minute=60, clock=clock)
    assert keep is not None
    assert [keep() for _ in range(100)].count(True) == 60
    clock.advance(10)
    assert [keep() for _ in range(100)].count(True) == 10
    clock.jump(-1e9)
    assert not keep()
    clock.advance(3600)
    assert [keep() for _ in range(100)].count(True) == 60


def test_several_together_keep_what_all_of_them_keep() -> None:
    keep = sampler(every=2, per_minute=10, clock=ManualClock())
    assert keep is not None
    assert [keep() for _ in range(40)].count(True) == 10


def test_what_is_not_kept_gets_an_id_and_is_counted(sampled: Any) -> None:
    monitor = sampled(sample_every=4)
    ids = [monitor.log_prediction({"a": i}, i) for i in range(40)]
    assert len(set(ids)) == 40
    assert monitor.log_prediction(1, 1, prediction_id="mine") == "mine"
    assert monitor.flush()
    stored = list(monitor.predictions())
    assert [one.outputs for one in stored if one.id != "mine"] == list(range(36, -1, -4))
    assert [one.seq for one in stored] == list(range(len(stored), 0, -1)), "numbered after sampling"
    assert monitor.get_status()["dropped"] == {"sampled_out": 41 - len(stored)}
    assert not [event for event in monitor.events() if event.type == "loss"], "wanted, hence no loss"


def test_what_failed_is_never_dropped(sampled: Any) -> None:
    monitor = sampled(sample_rate=0.0)

    @monitor.watch()
    def divide(a: float) -> float:
        return 1 / a

    for a in (1, 0, 2, 0):
        try:
            divide(a)
        except ZeroDivisionError:
            pass
    assert monitor.flush()
    assert [(one.inputs, one.error) for one in monitor.predictions()] == [({"a": 0}, "ZeroDivisionError")] * 2


def test_sampling_holds_for_every_way_to_log(sampled: Any) -> None:
    monitor = sampled(sample_rate=0.0)
    monitor.log_predictions([1, 2], [3, 4])
    with monitor.watch():
        pass
    id = monitor.log_model_input(1)
    monitor.log_model_output(id, 2)
    assert monitor.flush()
    assert list(monitor.predictions()) == []
    monitor.log_actual(id, 3)
    assert monitor.flush()
    assert [one.actual for one in monitor.actuals()] == [3], "labels are few, and may be of what was kept"
