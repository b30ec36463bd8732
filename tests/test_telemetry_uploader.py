"""The uploader: order, back-off, the three outcomes, and that every record arrives once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_mlops_monitor import outbox
from edge_mlops_monitor.clock import ManualClock
from edge_mlops_monitor.config.sections import Telemetry
from edge_mlops_monitor.errors import MissingExtraError, StoreFullError
from edge_mlops_monitor.records import DriftResult, Event, Prediction, SystemMetric
from edge_mlops_monitor.store import Store
from edge_mlops_monitor.telemetry.encoding import parse_key
from edge_mlops_monitor.telemetry.sinks.memory import MemorySink
from edge_mlops_monitor.telemetry.sinks.sink import Accepted, Answer, Never, TryAgain
from edge_mlops_monitor.telemetry.uploader import Uploader

SETTINGS = Telemetry(upload_interval_seconds=300.0, max_batch_size=100)
OFFLINE = TryAgain("no network")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Iterator[Store]:
    store = Store(tmp_path / "m.db", device_id="pi-7", has_sinks=True, clock=clock)
    yield store
    store.close()


def log(store: Store, count: int, kind: str = "predictions") -> None:
    makers = {
        "predictions": lambda i: Prediction(id=f"p-{i}", ts=1.0, inputs={"a": i / 7}),
        "system": lambda i: SystemMetric(name="m", value=float(i)),
        "events": lambda i: Event(id=f"e-{i}", type="alarm"),
        "drift": lambda i: DriftResult(feature="a", method="ks_test"),
    }
    with store.transaction() as tx:
        tx.append(kind, [makers[kind](i) for i in range(count)])


def uploader(store: Store, sink: Any = None, settings: Telemetry = SETTINGS, **sinks: Any) -> Uploader:
    named = {"main": sink, **sinks} if sink is not None else sinks
    factories = {name: (lambda one=one: one) for name, one in named.items()}
    return Uploader(store, factories, settings, rng=random.Random(5))


def run(uploader: Uploader, clock: ManualClock, seconds: float) -> list[float]:
    """Let `seconds` pass as the worker would; the waits that were asked for."""
    until, waits = clock.monotonic() + seconds, []
    for _ in range(100_000):
        wait = uploader.step(clock.monotonic())
        if wait > 0:
            waits.append(wait)
        if clock.monotonic() + wait > until:
            clock.advance(until - clock.monotonic())
            return waits
        clock.advance(wait)
    raise AssertionError("the uploader never rests")


def kinds(sink: MemorySink) -> list[str]:
    return [parse_key(key).kind for key in sink.attempts]


def numbers(sink: MemorySink, kind: str = "predictions") -> list[tuple[str, int]]:
    return sorted((row["generation"], row["seq"]) for row in sink.records(kind))


class Fickle(MemorySink):
    """Answers at random, and loses some of its answers after it has kept the object."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = random.Random(seed)

    def put(self, key: str, body: bytes, content_type: str) -> Answer:
        luck = self.rng.random()
        if luck < 0.3:
            return OFFLINE
        if luck < 0.35:
            return TryAgain("refused", refused=True)
        if luck < 0.4:
            raise RuntimeError("a fault in the sink")
        answer = super().put(key, body, content_type)
        return TryAgain("the answer was lost") if luck < 0.6 else answer


class Poisoned(MemorySink):
    """Takes everything but the objects whose key holds `word`."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self.word = word

    def put(self, key: str, body: bytes, content_type: str) -> Answer:
        if self.word in key:
            self.attempts.append(key)
            return TryAgain("internal error")
        return super().put(key, body, content_type)


def test_a_fleet_that_comes_back_at_once_is_spread_over_time(store: Store, clock: ManualClock) -> None:
    log(store, 1)
    first = []
    for seed in range(200):
        one = Uploader(store, {"main": MemorySink}, SETTINGS, rng=random.Random(seed))
        first.append(one.step(clock.monotonic()))
    assert 0 <= min(first) < 30
    assert 270 < max(first) <= 300
    assert len({round(delay) for delay in first}) > 80


def test_what_waited_before_a_restart_waits_for_the_first_round_too(store: Store, clock: ManualClock) -> None:
    log(store, 10)
    uploader(store, MemorySink()).seal()
    sink = MemorySink()
    one = uploader(store, sink)
    first = one.step(clock.monotonic())
    clock.advance(first / 2)
    assert one.step(clock.monotonic()) == pytest.approx(first / 2)
    assert sink.attempts == []
    one.drain()
    one.resume()
    one.seal()
    assert one.step(clock.monotonic()) > 0
    assert len(sink.attempts) == 2


def test_every_interval_brings_what_was_logged_since(store: Store, clock: ManualClock) -> None:
    sink = MemorySink()
    one = uploader(store, sink)
    log(store, 30)
    run(one, clock, 300)
    assert len(sink.records("predictions")) == 30
    log(store, 20)
    run(one, clock, 300)
    assert numbers(sink) == [(store.generation, seq) for seq in range(1, 51)]
    assert outbox.pending_count(store) == 0


def test_events_and_drift_go_first_then_the_newest_then_the_oldest(store: Store, clock: ManualClock) -> None:
    sink = MemorySink()
    one = uploader(store, sink)
    for _ in range(3):
        log(store, 50)
        log(store, 5, "system")
        one.seal()
    log(store, 2, "events")
    log(store, 2, "drift")
    log(store, 50)
    run(one, clock, 300)
    sent = [(key.kind, key.first_seq) for key in map(parse_key, sink.attempts)]
    assert sent == [
        *[("events", 1), ("events", 2), ("drift", 1)],
        *[("predictions", 151), ("system", 11)],
        *[("system", 1), ("predictions", 1), ("system", 6), ("predictions", 51), ("predictions", 101)],
    ]


def test_events_do_not_wait_for_a_backlog_to_be_sealed(store: Store, clock: ManualClock) -> None:
    class Watching(MemorySink):
        def put(self, key: str, body: bytes, content_type: str) -> Answer:
            waiting.append({item.kind for item in outbox.pending(store, "main", limit=100)})
            return super().put(key, body, content_type)

    waiting: list[set[str]] = []
    one = uploader(store, Watching())
    log(store, 1000)
    run(one, clock, 300)
    assert waiting[0] == {"events"}


def test_order_survives_an_outage(store: Store, clock: ManualClock) -> None:
    sink = MemorySink(answers=[OFFLINE] * 100)
    one = uploader(store, sink)
    for _ in range(8):
        log(store, 50)
        run(one, clock, 300)
    sink.answers.clear()
    sink.attempts.clear()
    log(store, 2, "drift")
    log(store, 50)
    run(one, clock, 300)
    firsts = [parse_key(key).first_seq for key in sink.attempts if "predictions" in key]
    assert "predictions" not in kinds(sink)[:2]
    assert firsts[:2] == [401, 1]
    assert sorted(firsts) == [1 + 50 * i for i in range(9)]
    rest = firsts[1:]
    # The object that was tried last is thought of as troubled, for a moment.
    assert any(rest[:i] + rest[i + 1 :] == sorted(rest[:i] + rest[i + 1 :]) for i in range(len(rest)))


def test_fresh_data_is_not_starved_by_a_backlog(store: Store, clock: ManualClock) -> None:
    class Slow(MemorySink):
        def put(self, key: str, body: bytes, content_type: str) -> Answer:
            clock.advance(100)
            return super().put(key, body, content_type)

    log(store, 1000)
    sink = Slow()
    one = uploader(store, sink)
    run(one, clock, 900)
    sink.attempts.clear()
    log(store, 10)
    run(one, clock, 300)
    assert 1001 in [parse_key(key).first_seq for key in sink.attempts[:3]]


def test_where_a_round_takes_longer_than_the_interval_every_kind_has_its_turn(
    store: Store, clock: ManualClock
) -> None:
    sink = MemorySink()
    one = uploader(store, sink, Telemetry(upload_interval_seconds=1.0))
    for _ in range(100):
        for kind in ("events", "system", "predictions"):
            log(store, 1, kind)
        one.step(clock.monotonic())
        clock.advance(0.8)  # as on a slow disk
    for kind in ("events", "system", "predictions"):
        assert len(numbers(sink, kind)) > 80, kind


def test_an_upload_now_ends_though_records_keep_coming(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = MemorySink()
    one = uploader(store, sink)
    log(store, 250)
    seal_one = one.sealer.seal_one

    def sealed(kind: str) -> Any:
        batch = seal_one(kind)
        log(store, 20)
        assert store.counts()["predictions"] < 1000, "no end in sight"
        return batch

    monkeypatch.setattr(one.sealer, "seal_one", sealed)
    assert one.drain()["pending"] == 0
    assert len(numbers(sink)) >= 250


def test_an_upload_now_leaves_to_another_process_what_that_one_seals_meanwhile(store: Store) -> None:
    class Sealing(MemorySink):
        def put(self, key: str, body: bytes, content_type: str) -> Answer:
            log(store, 2)
            assert another.sealer.seal_one("predictions") is not None
            assert len(self.attempts) < 50, "no end in sight"
            return super().put(key, body, content_type)

    sink = Sealing()
    one, another = uploader(store, sink), uploader(store, MemorySink())
    log(store, 250)
    assert one.drain()["pending"] == 0
    assert set(range(1, 251)) <= {number for _, number in numbers(sink)}


def test_attempts_are_bounded_in_a_round_and_never_over_the_life_of_a_batch(
    store: Store, clock: ManualClock
) -> None:
    sink = MemorySink(answers=[OFFLINE] * 500)
    one = uploader(store, sink)
    log(store, 10)
    run(one, clock, 300 * 100)
    assert 480 <= 500 - len(sink.answers) <= 500
    sink.answers.clear()
    run(one, clock, 600)
    assert len(numbers(sink)) == 10
    assert outbox.dead_letters(store) == []


def test_the_wait_between_attempts_grows_within_its_bounds(store: Store, clock: ManualClock) -> None:
    settings = Telemetry(
        upload_interval_seconds=100_000,
        retry_max_attempts=400,
        retry_base_delay_seconds=1.0,
        retry_max_delay_seconds=60.0,
    )
    one = uploader(store, MemorySink(answers=[OFFLINE] * 400), settings)
    log(store, 1)
    waits = run(one, clock, 100_000)[1:]
    for n, wait in enumerate(waits[:6]):
        assert wait <= 2.0**n
    assert max(waits[:399]) <= 60
    late = waits[10:399]
    assert 24 < sum(late) / len(late) < 36  # full jitter: uniform from 0 to the bound
    assert min(late) < 3


def test_a_server_that_names_a_delay_is_heeded_but_not_for_ever(store: Store, clock: ManualClock) -> None:
    log(store, 1)
    sink = MemorySink(answers=[TryAgain("busy", 7.0), TryAgain("busy", 1e9)])
    one = uploader(store, sink, Telemetry(upload_interval_seconds=1e6))
    waits = run(one, clock, 1e6)
    assert 7.0 <= waits[1] <= 8.0
    assert 3600.0 <= waits[2] <= 3602.0


def test_a_refusal_stops_hammering_and_one_probe_reopens(store: Store, clock: ManualClock) -> None:
    sink = MemorySink(answers=[TryAgain("wrong credentials; correct them", refused=True)] * 1000)
    one = uploader(store, sink)
    for _ in range(10):
        log(store, 200)
        run(one, clock, 300)
    run(one, clock, 86_400)
    asked = 1000 - len(sink.answers)
    assert 24 <= asked <= 70
    status = one.status()
    assert status["sinks"]["main"]["refused"]
    assert "wrong credentials" in status["last_error"]
    assert outbox.dead_letters(store) == []
    sink.answers.clear()
    run(one, clock, 3600)
    assert len(numbers(sink)) == 2000
    assert one.status()["last_error"] is None
    run(one, clock, 600)
    types = Counter(row["type"] for row in sink.records("events"))
    assert (types["upload_refused"], types["upload_resumed"]) == (1, 1)


def test_what_is_refused_for_ever_is_set_aside_and_the_others_go(store: Store, clock: ManualClock) -> None:
    sink = MemorySink(answers=[Never("too large")])
    one = uploader(store, sink)
    log(store, 250)
    log(store, 1, "drift")
    result = one.drain()
    assert result["dead_letters"] == 1
    assert len(outbox.dead_letters(store, "main")) == 1
    assert outbox.dead_letters(store)[0].reason == "too large"
    assert len(sink.records("predictions")) + len(sink.records("drift")) >= 250
    with store.transaction() as tx:
        assert outbox.revive(tx) == 1
    one.drain()
    assert len(numbers(sink)) == 250
    assert [row["type"] for row in sink.records("events")].count("dead_letter") == 1


def test_one_object_that_always_fails_does_not_hold_up_the_others(store: Store, clock: ManualClock) -> None:
    sink = Poisoned("000000000101-")
    one = uploader(store, sink)
    log(store, 1000)
    run(one, clock, 300)
    assert len(numbers(sink)) == 900
    run(one, clock, 86_400)
    failed = sum(sink.word in key for key in sink.attempts)
    assert 10 < failed < 300 * 5
    sink.attempts.clear()
    for _ in range(50):
        log(store, 50)
        run(one, clock, 300)
    assert sum(sink.word in key for key in sink.attempts) < 100
    sink.word = "none"
    one.drain()  # asks for it at once, without waiting until its time comes
    assert len(numbers(sink)) == 3500


def test_with_a_single_attempt_a_round_one_bad_object_still_does_not_block(
    store: Store, clock: ManualClock
) -> None:
    sink = Poisoned("kind=events")
    one = uploader(store, sink, Telemetry(upload_interval_seconds=300, retry_max_attempts=1))
    log(store, 100)
    run(one, clock, 3000)
    assert len(numbers(sink)) == 100


def test_one_sink_that_is_down_does_not_hold_up_another(store: Store, clock: ManualClock) -> None:
    down, up = MemorySink(answers=[OFFLINE] * 10_000), MemorySink()
    one = uploader(store, down=down, up=up)
    log(store, 500)
    run(one, clock, 300)
    assert len(numbers(up)) == 500
    assert outbox.pending_count(store, "up") == 0
    assert outbox.pending_count(store, "down") > 0
    down.answers.clear()
    run(one, clock, 300)
    assert numbers(down) == numbers(up)
    assert down.objects == up.objects


@pytest.mark.parametrize("seed", range(8))
def test_whatever_the_sink_answers_every_record_arrives_once(
    store: Store, clock: ManualClock, seed: int
) -> None:
    sink = Fickle(seed)
    one = uploader(store, sink)
    for _ in range(20):
        log(store, 130)
        log(store, 30, "system")
        run(one, clock, 300)
    sink.rng = random.Random()
    sink.rng.random = lambda: 0.9  # type: ignore[method-assign]  # from now on all is well
    run(one, clock, 8000)
    assert outbox.pending_count(store) == 0
    assert numbers(sink) == [(store.generation, seq) for seq in range(1, 2601)]
    assert numbers(sink, "system") == [(store.generation, seq) for seq in range(1, 601)]


def test_the_same_numbers_used_by_another_start_a_generation_and_nothing_is_lost_or_overwritten(
    store: Store, clock: ManualClock
) -> None:
    log(store, 150)
    one = uploader(store, MemorySink(answers=[OFFLINE] * 99))
    one.seal(["predictions"], 150)
    theirs = {item.key: b"what the clone has put" for item in outbox.pending(store, "main")[:1]}
    before = store.generation
    sink = MemorySink()
    sink.objects.update(theirs)
    one = uploader(store, sink)
    one.drain()
    one.drain()
    assert sink.objects[next(iter(theirs))] == b"what the clone has put"
    del sink.objects[next(iter(theirs))]
    rows = sink.records("predictions")
    assert sorted(row["id"] for row in rows) == sorted(f"p-{i}" for i in range(150))
    assert store.generation != before
    assert sorted((row["generation"], row["seq"]) for row in rows if row["generation"] != before) == [
        (store.generation, seq) for seq in range(1, 101)
    ]
    events = sink.records("events")
    moved = next(row for row in events if row["type"] == "renumbered")
    assert moved["data"] | {"reason": ""} == {
        "kind": "predictions",
        "generation": before,
        "first_seq": 1,
        "last_seq": 100,
        "records": 100,
        "reason": "",
    }
    assert [row["data"]["previous"] for row in events if row["type"] == "generation"] == [None, before]


def test_what_the_bound_on_disk_takes_away_is_declared_to_the_last_record(
    tmp_path: Path, clock: ManualClock
) -> None:
    store = Store(tmp_path / "small.db", device_id="pi-7", max_bytes=2 << 20, has_sinks=True, clock=clock)
    sink = MemorySink(answers=[OFFLINE] * 100_000)
    one = uploader(store, sink, Telemetry(upload_interval_seconds=300, max_batch_size=1000))
    rng = random.Random(3)
    for _ in range(60):
        with store.transaction() as tx:
            inputs = [{f"s{k}": rng.random() for k in range(10)} for _ in range(300)]
            tx.append("predictions", [Prediction(id="p", inputs=row) for row in inputs])
        run(one, clock, 300)
        assert store.file_bytes() <= 2 << 20
    sink.answers.clear()
    run(one, clock, 900)
    delivered = {row["seq"] for row in sink.records("predictions")}
    declared: set[int] = set()
    for row in sink.records("events"):
        if row["type"] == "loss" and row["data"]["kind"] == "predictions":
            declared |= set(range(row["data"]["first_seq"], row["data"]["last_seq"] + 1))
    assert declared
    assert delivered.isdisjoint(declared)
    assert delivered | declared == set(range(1, 60 * 300 + 1))
    store.close()


def test_it_stops_between_two_objects(store: Store, clock: ManualClock) -> None:
    class Stopping(MemorySink):
        def put(self, key: str, body: bytes, content_type: str) -> Answer:
            one.stop()
            return super().put(key, body, content_type)

    sink, other = Stopping(), MemorySink()
    one = uploader(store, sink, other=other)
    log(store, 500)
    run(one, clock, 1000)
    assert (len(sink.attempts), len(other.attempts)) == (1, 0)
    assert one.drain()["delivered"] == 0
    one.resume()
    run(one, clock, 300)
    assert len(sink.attempts) == 2


def test_draining_waits_for_no_interval_and_reports(store: Store) -> None:
    sink, seen = MemorySink(), list[int]()
    log(store, 250)
    result = uploader(store, sink).drain(progress=seen.append)
    assert result == {
        "sealed": 4,
        "delivered": 4,
        "records": 251,
        "pending": 0,
        "dead_letters": 0,
        "errors": {},
    }
    assert seen[-1] == 0
    assert max(seen) == 4


def test_draining_gives_up_after_one_round_and_says_why(store: Store) -> None:
    log(store, 250)
    settings = Telemetry(retry_base_delay_seconds=0.0, max_batch_size=100)
    sink = MemorySink(answers=[OFFLINE] * 50)
    result = uploader(store, sink, settings).drain()
    assert len(sink.attempts) == 5
    assert result["errors"] == {"main": "no network"}
    assert result["pending"] == 4


def test_draining_probes_a_sink_that_had_refused(store: Store, clock: ManualClock) -> None:
    sink = MemorySink(answers=[TryAgain("wrong bucket", refused=True)])
    log(store, 10)
    one = uploader(store, sink)
    run(one, clock, 301)
    assert one.status()["sinks"]["main"]["refused"]
    assert one.drain()["pending"] == 0


def test_sealing_on_request_makes_a_group_of_the_oldest_records(store: Store) -> None:
    log(store, 250)
    log(store, 5, "system")
    one = uploader(store, MemorySink())
    group = one.seal(["predictions", "system"], max_records=120)
    waiting = outbox.pending(store, "main")
    assert {item.batch for item in waiting} == {group}
    assert sorted((item.kind, item.first_seq, item.last_seq) for item in waiting) == [
        ("predictions", 1, 100),
        ("predictions", 101, 120),
        ("system", 1, 5),
    ]
    assert one.seal(["system"], group="mine") == "mine"


def test_without_a_sink_nothing_is_sealed(store: Store, clock: ManualClock) -> None:
    log(store, 10)
    one = uploader(store)
    assert one.step(clock.monotonic()) == SETTINGS.upload_interval_seconds
    one.seal(["predictions"])
    assert outbox.pending_count(store) == 0
    assert one.status() == {"pending": 0, "last_upload": None, "last_error": None, "sinks": {}}


def test_the_state_of_each_sink_outlives_the_process(store: Store, clock: ManualClock) -> None:
    log(store, 10)
    settings = Telemetry(retry_base_delay_seconds=0.0)
    uploader(store, settings=settings, good=MemorySink(), bad=MemorySink(answers=[OFFLINE] * 99)).drain()
    status = uploader(store, good=MemorySink(), bad=MemorySink()).status()
    assert status["last_upload"] == clock.time()
    assert status["last_error"] == "bad: no network"
    assert status["sinks"]["good"]["records"] == 11
    assert status["sinks"]["bad"]["records"] == 0
    assert status["sinks"]["bad"]["pending"] == status["pending"] == 2


def test_a_sink_that_cannot_be_made_says_why_and_costs_nothing(store: Store, clock: ManualClock) -> None:
    def missing() -> MemorySink:
        raise MissingExtraError("the sink 's3' needs obstore; run: pip install 'edge-mlops-monitor[s3]'")

    log(store, 10)
    one = Uploader(store, {"s3": missing}, SETTINGS, rng=random.Random(1))
    result = one.drain()
    assert "pip install" in result["errors"]["s3"]
    assert result["pending"] == 2


def test_the_same_error_is_not_written_to_flash_at_each_attempt(store: Store, clock: ManualClock) -> None:
    log(store, 10)
    one = uploader(store, MemorySink(answers=[OFFLINE] * 100 + [TryAgain("another reason")] * 100))
    run(one, clock, 600)
    first = one.states()["main"].last_error_at
    assert first is not None
    run(one, clock, 3000)
    assert one.states()["main"].last_error_at == first
    run(one, clock, 6000)
    assert one.states()["main"].last_error == "another reason"


def test_a_full_database_does_not_keep_what_is_sealed_from_being_sent(
    store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(kind: str) -> None:
        raise StoreFullError("no space for the database")

    log(store, 300)
    sink = MemorySink()
    one = uploader(store, sink)
    one.seal(["predictions"], 200)
    with monkeypatch.context() as patch:
        patch.setattr(one.sealer, "seal_one", full)
        run(one, clock, 300)
    assert len(numbers(sink)) == 200
    run(one, clock, 300)
    assert len(numbers(sink)) == 300


def test_time_that_jumps_changes_neither_order_nor_delay(store: Store, clock: ManualClock) -> None:
    sink = MemorySink(answers=[OFFLINE] * 3)
    one = uploader(store, sink)
    log(store, 50)
    clock.jump(-1.6e9)  # a board without a clock starts in 1970
    run(one, clock, 150)
    clock.jump(3.2e9)
    log(store, 50)
    run(one, clock, 900)
    assert numbers(sink) == [(store.generation, seq) for seq in range(1, 101)]


def test_ticks_missed_while_the_machine_slept_are_skipped(store: Store, clock: ManualClock) -> None:
    sink = MemorySink(answers=[OFFLINE] * 10_000)
    one = uploader(store, sink)
    run(one, clock, 301)
    clock.advance(86_400)
    sink.attempts.clear()
    steps = 1
    while one.step(clock.monotonic()) == 0:
        steps += 1
    assert steps <= 10
    run(one, clock, 300)
    assert 0 < len(sink.attempts) <= 10


def test_an_accepted_object_is_settled_once(store: Store) -> None:
    log(store, 10)
    sink = MemorySink()
    one = uploader(store, sink)
    one.drain()
    assert set(sink.attempts) == set(sink.objects)
    assert len(sink.attempts) == 2
    assert one.drain()["delivered"] == 0
    assert isinstance(sink.put(sink.attempts[0], sink.objects[sink.attempts[0]], ""), Accepted)
