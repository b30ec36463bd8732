"""The bound on disk: held at all times, with what is given up chosen by value and declared exactly."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edge_mlops_monitor import opening, outbox
from edge_mlops_monitor.blocks import SEQ_BITS, SEQ_MASK
from edge_mlops_monitor.errors import StoreFullError
from edge_mlops_monitor.records import Actual, DriftResult, Event, Prediction, Record, SystemMetric
from edge_mlops_monitor.store import Store

MIB = 1 << 20


def on_disk(store: Store) -> int:
    """Bytes of the database and everything beside it."""
    return sum(file.stat().st_size for file in store.path.parent.iterdir())


def record(kind: str, size: int) -> Record:
    filler = os.urandom(size // 2).hex()
    return {
        "predictions": Prediction(inputs=filler),
        "actuals": Actual(actual=filler),
        "system": SystemMetric(name=filler),
        "drift": DriftResult(feature=filler),
        "events": Event(type="test", message=filler),
    }[kind]


def append(store: Store, kind: str, count: int, size: int = 400) -> None:
    with store.transaction() as tx:
        tx.append(kind, [record(kind, size) for _ in range(count)])


def opened(path: Path, max_bytes: int, **options: bool) -> Store:
    """A store that does not wait for the disk, since no test here cuts the power."""
    store = Store(path / "m.db", max_bytes=max_bytes, **options)
    store.query("PRAGMA synchronous = OFF")
    return store


def stored(store: Store, kind: str) -> set[tuple[str, int]]:
    return {(one.generation, one.seq) for one in store.newest(kind)}


def declared(store: Store, sent: Iterable[Record] = ()) -> dict[str, set[tuple[str, int]]]:
    """What the events that are left, and those that were sent, say was given up, by kind."""
    gone: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for event in (*store.newest("events"), *sent):
        assert isinstance(event, Event)
        if event.type in ("loss", "gap"):
            data = event.data
            numbers = range(data["first_seq"], data["last_seq"] + 1)
            assert data["records"] == len(numbers)
            gone[data["kind"]] |= {(data["generation"], number) for number in numbers}
    return gone


@pytest.mark.parametrize("megabytes", [1, 3])
@pytest.mark.parametrize("has_sinks", [False, True])
def test_the_bound_holds_after_every_commit_under_random_load(
    tmp_path: Path, megabytes: int, has_sinks: bool
) -> None:
    chance = random.Random(megabytes)
    store = opened(tmp_path, megabytes * MIB, has_sinks=has_sinks)
    written = 0
    while written < 5 * megabytes * MIB:
        kind = chance.choice(["predictions"] * 6 + ["system", "actuals", "drift"])
        count, size = chance.choice([(1, 200), (250, 300), (20, 2000), (1, 60_000), (600, 40)])
        append(store, kind, count, size)
        written += count * size
        assert on_disk(store) <= megabytes * MIB
    assert sum(store.counts().values()) > 100


def test_the_bound_holds_inside_a_large_commit_its_journal_included(tmp_path: Path) -> None:
    store = opened(tmp_path, 4 * MIB)
    largest = 0
    for _ in range(40):
        with store.transaction() as tx:
            tx.sql("PRAGMA cache_size = 1")  # writes pages when they come, not only at the end
            for _ in range(5):  # half of the journal's share, as the recorder does
                tx.append("predictions", [record("predictions", 250) for _ in range(200)])
                largest = max(largest, on_disk(store))
        largest = max(largest, on_disk(store))
    assert largest <= 4 * MIB


def test_predictions_go_first_and_events_last(tmp_path: Path) -> None:
    store = opened(tmp_path, 2 * MIB)
    for kind in ("events", "drift", "actuals", "system"):
        append(store, kind, 200)
    for _ in range(40):
        append(store, "predictions", 200)
    counts = store.counts()
    assert counts["predictions"] < 8000
    assert [counts[kind] for kind in ("drift", "actuals", "system")] == [200, 200, 200]
    assert counts["events"] >= 200
    assert stored(store, "predictions") == {
        (store.generation, 8000 - i) for i in range(counts["predictions"])
    }


def test_what_no_sink_waits_for_goes_before_what_one_waits_for(tmp_path: Path) -> None:
    store = opened(tmp_path, 2 * MIB, has_sinks=True)
    append(store, "actuals", 500)
    append(store, "predictions", 500)
    with store.transaction() as tx:
        tx.set_sealed("actuals", tx.generation_number << SEQ_BITS | 500)
    while store.counts()["actuals"] == 500:
        append(store, "predictions", 100)
    assert not declared(store)["predictions"], "labels that were delivered go before predictions that wait"
    assert store.losses() == {}


def test_the_oldest_that_waits_goes_first_whether_sealed_or_not(tmp_path: Path) -> None:
    store = opened(tmp_path, 2 * MIB, has_sinks=True)
    for first in range(1, 1001, 100):
        append(store, "predictions", 100)
        with store.transaction() as tx:
            tx.set_sealed("predictions", tx.generation_number << SEQ_BITS | first + 99)
            outbox.add(
                tx,
                key=f"o-{first}",
                kind="predictions",
                generation=tx.generation_number,
                first_seq=first,
                last_seq=first + 99,
                records=100,
                body=os.urandom(30_000),
                sinks=["s"],
            )
    while not declared(store)["predictions"]:
        append(store, "predictions", 50)
    gone = sorted(number for _, number in declared(store)["predictions"])
    assert gone == list(range(1, len(gone) + 1))


def test_the_file_shrinks_when_the_limit_is_lowered(tmp_path: Path) -> None:
    store = opened(tmp_path, 16 * MIB)
    append(store, "events", 50)
    for _ in range(60):
        append(store, "predictions", 250)
    assert on_disk(store) > 5 * MIB
    store.close()
    store = opened(tmp_path, 2 * MIB)
    append(store, "predictions", 10)
    assert on_disk(store) <= 2 * MIB
    assert store.counts()["events"] >= 50
    assert store.counts()["predictions"] > 500, "no more is given up than the limit asks for"
    assert store.query("PRAGMA integrity_check") == [("ok",)]


def test_free_pages_are_given_back_many_in_one_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits: list[int] = []
    commit = opening.commit

    def counted(connection: opening.Connection) -> None:
        commits.append(1)
        commit(connection)

    store = opened(tmp_path, 16 * MIB)
    for _ in range(60):
        append(store, "predictions", 250)
    store.close()
    monkeypatch.setattr(opening, "commit", counted)
    store = opened(tmp_path, 2 * MIB)
    assert len(commits) < 100, "2000 pages have gone; on a slow disk a commit takes a tenth of a second"
    commits.clear()
    store.scrub()
    assert len(commits) < 20
    assert store.query("PRAGMA integrity_check") == [("ok",)]


def test_a_larger_store_keeps_what_it_has_when_it_is_full(tmp_path: Path) -> None:
    store = opened(tmp_path, 8 * MIB)
    for _ in range(100):
        append(store, "predictions", 250)
    assert on_disk(store) > 6 * MIB, "the bound is used"
    kept = store.counts()["predictions"]
    append(store, "predictions", 1)
    assert store.counts()["predictions"] > kept * 0.9, "little is freed at a time"


def test_a_block_larger_than_the_bound_is_refused_and_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    store = opened(tmp_path, 1 * MIB)
    append(store, "predictions", 10)
    with pytest.raises(StoreFullError):
        append(store, "predictions", 1, 3 * MIB)
    assert store.counts()["predictions"] == 10
    append(store, "predictions", 10)
    assert on_disk(store) <= MIB


def test_a_piece_of_state_larger_than_the_bound_ends_in_one_sentence(tmp_path: Path) -> None:
    store = opened(tmp_path, MIB, has_sinks=True)
    append(store, "predictions", 100)

    def put(size: int) -> None:
        with store.transaction() as tx:
            tx.put("large", os.urandom(size))

    with pytest.raises(StoreFullError):
        put(3 * MIB)
    put(400_000)  # about half of so small a bound
    for _ in range(20):
        append(store, "predictions", 100)
    assert on_disk(store) <= MIB
    assert store.counts()["predictions"] > 100


def test_predictions_kept_is_honoured_for_what_no_sink_waits_for(tmp_path: Path) -> None:
    store = Store(tmp_path / "m.db", keep_predictions=1000)
    for _ in range(50):
        append(store, "predictions", 100, 50)
    assert 1000 <= store.counts()["predictions"] <= 1100
    assert store.losses() == {}
    assert not declared(store)


def test_predictions_kept_takes_nothing_that_a_sink_waits_for(tmp_path: Path) -> None:
    store = Store(tmp_path / "m.db", keep_predictions=1000, has_sinks=True)
    for _ in range(50):
        append(store, "predictions", 100, 50)
    assert store.counts()["predictions"] == 5000
    with store.transaction() as tx:
        tx.set_sealed("predictions", tx.generation_number << SEQ_BITS | 4500)
    append(store, "predictions", 100, 50)
    append(store, "predictions", 100, 50)
    assert 1000 <= store.counts()["predictions"] <= 1200


def test_every_loss_is_counted_by_reason_and_declared_once(tmp_path: Path) -> None:
    store = opened(tmp_path, MIB, has_sinks=True)
    for _ in range(60):
        append(store, "predictions", 100)
    gone = declared(store)["predictions"]
    assert store.losses() == {"storage_full": len(gone)}
    assert store.counts()["predictions"] + len(gone) == 6000
    assert store.counts()["events"] == 2, "the first event of the generation, and one range that grew"


Step = tuple[str, str, int, int]
steps: st.SearchStrategy[list[Step]] = st.lists(
    st.tuples(
        st.sampled_from(["append", "append", "append", "seal", "settle", "supersede"]),
        st.sampled_from(["predictions", "predictions", "system", "actuals", "drift", "events"]),
        st.integers(1, 250),
        st.sampled_from([20, 200, 1500]),
    ),
    min_size=10,
    max_size=120,
)


@given(steps)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
def test_what_is_stored_or_delivered_or_declared_is_what_was_appended(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Step]
) -> None:
    store = opened(tmp_path_factory.mktemp("r"), MIB, has_sinks=True)
    world = World(store)
    for action, kind, count, size in steps:
        getattr(world, action)(kind, count, size)
        assert on_disk(store) <= MIB
    world.check()
    store.close()


class World:
    """Plays uploader and recorder, and knows what was appended, sealed and delivered."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.delivered: dict[str, set[int]] = defaultdict(set)
        self.objects: dict[str, set[int]] = {}  # by key: what is really inside
        self.events: list[Record] = []  # that are inside objects

    def append(self, kind: str, count: int, size: int) -> None:
        append(self.store, kind, min(count, 60_000 // size), size)

    def seal(self, kind: str, count: int, size: int) -> None:
        with self.store.transaction() as tx:
            mark = tx.sealed(kind)
            found = tx.blocks(kind, "b.key > ? ORDER BY b.key LIMIT 1", (mark,))
            records = found[0].records() if found else []
            records = [one for one in records if one.seq > mark & SEQ_MASK][:count]
            numbers = [one.seq for one in records]
            if not numbers:
                return
            if kind == "events":
                self.events += records
            self.objects[f"{kind}-{numbers[0]}"] = set(numbers)
            tx.set_sealed(kind, tx.generation_number << SEQ_BITS | numbers[-1])
            outbox.add(
                tx,
                key=f"{kind}-{numbers[0]}",
                kind=kind,
                generation=tx.generation_number,
                first_seq=numbers[0],
                last_seq=numbers[-1],
                records=len(numbers),
                body=os.urandom(len(numbers) * size // 4),
                sinks=["s"],
            )

    def settle(self, kind: str, count: int, size: int) -> None:
        for item in outbox.pending(self.store, "s", kinds=[kind], limit=1):
            with self.store.transaction() as tx:
                outbox.settle(tx, item.id, "s")
            self.delivered[kind] |= self.objects[item.key]

    def supersede(self, kind: str, count: int, size: int) -> None:
        with self.store.transaction() as tx:
            for block in tx.blocks("predictions", "1 ORDER BY b.key DESC LIMIT 1", ()):
                tx.rewrite(block, [i % 2 == count % 2 for i in range(block.count)], "superseded")

    def check(self) -> None:
        said = declared(self.store, self.events)
        for kind in ("predictions", "system", "actuals", "drift"):
            waiting: set[int] = set()
            for item in outbox.pending(self.store, "s", kinds=[kind], limit=10_000):
                waiting |= self.objects[item.key]
            sql = "SELECT sealed, last_seq FROM sequences WHERE kind = ?"
            mark, last = self.store.query(sql, (kind,))[0]
            unsealed = {seq for _, seq in stored(self.store, kind) if seq > mark & SEQ_MASK}
            gone = {seq for _, seq in said[kind]}
            arrives = waiting | self.delivered[kind] | unsealed
            assert arrives | gone == set(range(1, last + 1)), f"{kind}: neither kept nor declared"
            assert not gone & unsealed, f"{kind}: declared, yet here"
            assert not gone & self.delivered[kind], f"{kind}: declared, yet delivered"
            assert not gone & waiting, f"{kind}: declared, yet waiting"
