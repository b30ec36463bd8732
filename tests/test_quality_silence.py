"""A stream that falls silent is told while it is silent: once, and not for what is usual."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_mlops_monitor.clock import ManualClock
from edge_mlops_monitor.decider import Decider
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.watcher import Watcher
from edge_mlops_monitor.quality.pauses import limit
from edge_mlops_monitor.records import Event, Prediction
from edge_mlops_monitor.store import Store

STREAM = ("detector", "3", "line-B")
BEGAN = 1.7e9
TICK = 5.0  # seconds between two looks
SETTINGS = Settings(learn_reference=200, learn_reference_hours=0)
Floats = np.ndarray[Any, np.dtype[np.float64]]


class Device:
    """A watcher that takes in the rows that came and then listens, every five seconds."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.watcher = Watcher(settings)
        self.rng = np.random.default_rng(1)
        self.now, self.offset = BEGAN, 0.0
        self.events: list[Event] = []

    def run(self, came: Floats, ts: Floats | None = None, stream: Any = STREAM) -> list[Event]:
        """Rows that come after so many seconds from now, and perhaps carry other times; what is told."""
        ts = self.now + came if ts is None else ts
        known = len(self.events)
        ends = np.arange(TICK, came[-1] + TICK, TICK)
        for begin, end in zip(
            np.searchsorted(came, ends - TICK, side="right"),
            np.searchsorted(came, ends, side="right"),
            strict=True,
        ):
            columns = {"inputs.x": self.rng.normal(size=end - begin).tolist()}
            self.hear(self.watcher.update(stream, columns, (ts[begin:end] + self.offset).tolist()))
            self.look()
        return self.events[known:]

    def healthy(self, rows: int = 400, stream: Any = STREAM) -> list[Event]:
        return self.run(np.arange(1.0, rows + 1), stream=stream)

    def wait(self, seconds: float) -> list[Event]:
        """Nothing comes."""
        known = len(self.events)
        for _ in range(round(seconds / TICK)):
            self.look()
        return self.events[known:]

    def look(self, seconds: float = TICK) -> None:
        self.now += seconds
        self.hear(self.watcher.silence(self.now + self.offset))

    def hear(self, found: list[Any]) -> None:
        events = [one for one in found if isinstance(one, Event)]
        self.events += [one for one in events if one.data["feature"] in ("arrival", "clock")]

    def restart(self, down: float = 0.0) -> None:
        state, self.watcher = self.watcher.state(), Watcher(SETTINGS)
        assert self.watcher.restore(state)
        self.now += down


def test_a_silent_stream_is_one_alarm_while_it_is_silent_and_one_recovery() -> None:
    device = Device()
    assert device.healthy(402) == []
    last = device.now - 3
    assert device.wait(60) == []
    (alarm,) = device.wait(3600)
    assert (alarm.type, alarm.severity, alarm.data["feature"]) == ("arrival", "alarm", "arrival")
    assert alarm.message.startswith("line-B arrival of detector 3 has been silent since 2023-11-14 22:20 UTC")
    assert (alarm.data["method"], alarm.data["since"], alarm.data["since_index"]) == ("silence", last, 402)
    assert 60 < alarm.data["effect"] <= 70
    assert alarm.ts <= last + 75
    assert device.watcher.status()[STREAM]["arrival"]["event"] == alarm.id
    assert device.watcher.acknowledge(STREAM, "arrival") == 1
    (over,) = device.healthy()
    assert (over.type, over.data["of"], over.data["since"]) == ("recovery", "arrival", last)
    assert over.ts == last + 3 + 60 + 3600 + 1
    assert "arrival" not in device.watcher.status()[STREAM]


def test_the_first_row_ends_a_silence_also_before_a_block_is_complete() -> None:
    device = Device()
    device.healthy()
    device.wait(300)
    (over,) = device.run(np.array([2.0]))
    assert (over.type, over.data["row"], over.ts) == ("recovery", 400, device.now - 3)
    assert device.healthy() == [], "the same pause is not told again"


ARRIVALS: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "regular": lambda rng, rows: 3 + rng.normal(scale=0.2, size=rows),
    "at random": lambda rng, rows: rng.exponential(20.0, size=rows),
    "seldom": lambda rng, rows: rng.exponential(600.0, size=rows),
    "in bursts": lambda rng, rows: np.where(rng.random(rows) < 0.1, rng.exponential(200.0, rows), 0.1),
    "heavy tails": lambda rng, rows: np.minimum(10 * rng.pareto(1.5, rows), 3600.0),
    "days and nights": lambda rng, rows: np.where(np.arange(rows) % 180 == 0, 14 * 3600.0, 200.0),
}


@pytest.mark.parametrize("kind", ARRIVALS)
def test_healthy_arrivals_are_no_silence(kind: str) -> None:
    device = Device()
    came = np.cumsum(ARRIVALS[kind](np.random.default_rng(2), 1000))
    assert device.run(came) == []
    if kind == "regular":
        (alarm,) = device.wait(100)
        assert alarm.data["method"] == "silence"


def test_rows_that_are_handed_over_once_an_hour_are_no_silence() -> None:
    device = Device()
    made = device.now + np.arange(60.0, 60 * 3600.0, 60.0)
    handed_over = (np.arange(60.0, 60 * 3600.0, 60.0) // 3600 + 1) * 3600
    assert device.run(handed_over, made) == []
    (alarm,) = device.wait(24 * 3600)
    assert alarm.data["longest_gap"] == pytest.approx(3600, abs=10), "not the minute between their times"


def test_times_of_another_year_are_no_silence_and_do_not_hide_one() -> None:
    device = Device()
    came = np.arange(1.0, 1000.0)
    assert device.run(came, came + BEGAN - 300 * 86400) == []
    (alarm,) = device.wait(900)
    assert 60 < alarm.data["effect"] <= 70


def test_neither_a_clock_that_is_set_nor_a_device_that_sleeps_is_a_silence() -> None:
    device = Device()
    device.healthy()
    device.look(8 * 3600)  # the next look comes hours later
    assert device.events == []
    assert [one.data["method"] for one in device.healthy()] == ["gap"]
    for offset in (7200.0, 0.0, 86400.0):
        device.offset = offset
        device.look()
        device.healthy(60)
    assert [one for one in device.events if one.data.get("method") == "silence"] == []


def test_a_restart_in_a_silence_tells_nothing_twice() -> None:
    device = Device()
    device.healthy()
    (alarm,) = device.wait(300)
    device.restart(down=5000)
    assert device.watcher.status()[STREAM]["arrival"]["event"] == alarm.id
    assert device.wait(3600) == []
    device.restart()
    assert [one.type for one in device.healthy()] == ["recovery"]


def test_the_time_that_a_program_was_down_is_no_silence_but_one_that_does_not_come_back_is() -> None:
    device = Device()
    device.healthy()
    device.restart(down=3 * 86400)
    assert device.wait(600) == [], "it may have a model to load"
    (alarm,) = device.wait(300)
    assert alarm.data["method"] == "silence"
    assert alarm.data["effect"] < 300, "the days for which it was down are not counted"


def test_a_model_whose_place_another_version_takes_is_not_silent() -> None:
    device = Device()
    device.healthy()
    other = ("detector", "4", "line-B")
    assert device.healthy(stream=other) == []
    assert [one.data["model_version"] for one in device.wait(300)] == ["4"]


def test_a_silence_ends_once_another_version_takes_the_place() -> None:
    device = Device()
    device.healthy()
    device.wait(600)
    assert [one.data["method"] for one in device.events] == ["silence"]
    assert device.healthy(stream=("detector", "3", "line-C")) == []
    over, of_another = device.healthy(stream=("detector", "4", "line-B"))
    assert of_another.data["source"] == "line-C"
    assert (over.type, over.data["model_version"], over.data["source"]) == ("recovery", "3", "line-B")
    assert over.message.endswith("is over: another version has taken the model's place")
    assert [one for one in device.healthy() if one.data["model_version"] == "3"] == [], "it was told before"


def test_a_stream_that_comes_seldom_from_now_on_is_not_told_at_every_row() -> None:
    device = Device()
    device.healthy()
    told = device.run(np.arange(1, 200) * 600.0)
    assert [one.type for one in told] == ["arrival", "recovery"]


def test_until_the_arrival_is_learned_nothing_is_silent() -> None:
    device = Device()
    device.healthy(150)
    assert device.wait(86400) == []


def test_how_rows_are_cut_into_calls_between_two_looks_changes_nothing() -> None:
    said = []
    for cut in (1, 3, 400):
        watcher, events = Watcher(SETTINGS), []
        rng, now = np.random.default_rng(3), BEGAN
        for _ in range(60):
            for begin in range(0, 10, cut):
                ts = now + np.arange(begin, min(begin + cut, 10)) / 2
                columns = {"inputs.x": rng.normal(size=len(ts)).tolist()}
                events += watcher.update(STREAM, columns, ts.tolist())
            now += TICK
            if 40 < now / TICK % 60 < 45:
                now += 200.0
            events += watcher.silence(now)
        said.append([one for one in events if isinstance(one, Event)])
    assert said[0] == said[1] == said[2]


def test_while_rows_come_too_fast_their_end_is_no_second_alarm() -> None:
    device = Device()
    device.healthy()
    (alarm,) = device.run(np.arange(1, 4000) * 0.05)
    assert "arrival of detector 3 is too fast" in alarm.message
    assert device.wait(600) == []


def test_what_was_stored_before_the_first_look_does_not_teach_how_long_a_silence_is() -> None:
    device = Device(Settings(learn_reference=200, learn_reference_hours=24.0))
    ts = device.now - np.arange(2000.0)[::-1] * 60  # a tail of 33 hours, decided about at once
    device.hear(
        device.watcher.update(STREAM, {"inputs.x": device.rng.normal(size=2000).tolist()}, ts.tolist())
    )
    assert device.run(np.arange(1, 60) * 60.0) == []
    assert device.wait(2 * 3600) == [], "in the hour since then no night was seen"


def troubled(seed: int) -> list[Event]:
    """What two sources of two versions say that come and go, with restarts and clocks that are set."""
    chance, device = random.Random(seed), Device()
    streams = [("detector", version, source) for version in "34" for source in "BC"]
    for stream in streams[:2]:
        device.healthy(300, stream)
    for _ in range(30):
        what = chance.random()
        if what < 0.5:
            device.healthy(chance.choice([1, 2, 5, 7, 60, 200]), chance.choice(streams))
        elif what < 0.75:
            device.wait(chance.choice([5, 30, 70, 150, 900, 4000]))
        elif what < 0.9:
            device.restart(down=chance.choice([0, 10, 9000]))
        else:
            device.offset += chance.choice([-7200, 300, 86400, -30])
    return [one for one in device.events if one.data["feature"] == "arrival"]


def test_whatever_happens_a_silence_begins_once_and_ends_once_and_no_pause_is_told_twice() -> None:
    silences = 0
    for seed in range(10):
        is_open: dict[Any, bool] = defaultdict(bool)
        told: dict[Any, set[int]] = defaultdict(set)
        for one in troubled(seed):
            stream = (one.data["model_version"], one.data["source"])
            if one.severity != "warning":
                assert is_open[stream] is (one.type == "recovery"), one
                is_open[stream] = not is_open[stream]
            missed = {"silence": "since_index", "gap": "row"}.get(one.data.get("method", ""))
            if missed:
                assert one.data[missed] not in told[stream], one
                told[stream].add(one.data[missed])
                silences += missed == "since_index"
    assert silences > 20


def test_a_limit_needs_enough_pauses_and_a_share_of_the_budget() -> None:
    assert limit([1.0] * 23, 0.1) == limit([1.0] * 24, 0.0) == np.inf


# - the decider -


def test_the_decider_listens_with_every_step_and_over_restarts(tmp_path: Path) -> None:
    clock = ManualClock(BEGAN)
    with closing(Store(tmp_path / "m.db", clock=clock)) as store:
        store.query("PRAGMA synchronous = OFF")
        decider = Decider(lambda: store, SETTINGS, clock=clock)

        def steps(count: int, rows: int) -> list[Event]:
            for _ in range(count):
                clock.advance(TICK)
                ts = [clock.time() - row for row in range(rows)][::-1]
                with store.transaction() as tx:
                    if rows:
                        tx.append(
                            "predictions", [Prediction(ts=t, inputs={"x": t % 1}, model="m") for t in ts]
                        )
                decider.step(clock.monotonic())
            return [
                one for one in store.newest("events") if isinstance(one, Event) and one.type != "generation"
            ]

        assert steps(60, 5) == []
        (alarm,) = steps(20, 0)
        assert (alarm.type, alarm.data["method"]) == ("arrival", "silence")
        assert {"feature": "arrival", "state": "alarm"}.items() <= decider.features()[-1].items()  # type: ignore[index]
        decider.close()
        decider = Decider(lambda: store, SETTINGS, clock=clock)
        assert len(steps(20, 0)) == 1
        over, _ = steps(1, 5)
        assert (over.type, over.data["of"]) == ("recovery", "arrival")
        clock.jump(7200)
        assert len(steps(1, 5)) == 3, "a pause by the rows' times, since the clock was set"
        assert len(steps(10, 5)) == 3
