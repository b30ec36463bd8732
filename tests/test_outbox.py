"""The outbox: an object is added once, settled once for each sink, set aside where it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_mlops_monitor import outbox
from edge_mlops_monitor.errors import StoreError
from edge_mlops_monitor.records import Actual, Event
from edge_mlops_monitor.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "m.db", has_sinks=True)


def add(store: Store, number: int, kind: str = "actuals", sinks: tuple[str, ...] = ("a", "b")) -> int:
    with store.transaction() as tx:
        tx.append("actuals", [Actual(prediction_id=str(number))])
        return outbox.add(
            tx,
            key=f"{kind}-{number}",
            kind=kind,
            generation=tx.generation_number,
            first_seq=number,
            last_seq=number,
            records=1,
            body=b"body %d" % number,
            sinks=sinks,
            batch="group",
        )


def settle(store: Store, number: int, sink: str) -> None:
    with store.transaction() as tx:
        outbox.settle(tx, number, sink)


def test_an_object_stays_until_every_sink_has_it(store: Store) -> None:
    number = add(store, 1)
    settle(store, number, "a")
    assert outbox.pending(store, "a") == []
    (waiting,) = outbox.pending(store, "b")
    assert (waiting.key, waiting.size, waiting.records, waiting.batch) == ("actuals-1", 6, 1, "group")
    assert outbox.body(store, number) == b"body 1"
    settle(store, number, "b")
    settle(store, number, "b")
    assert outbox.body(store, number) is None
    assert outbox.pending_count(store) == 0
    assert store.query("SELECT count(*) FROM objects") == [(0,)]


def test_pending_is_oldest_or_newest_first_by_kind_and_limited(store: Store) -> None:
    for number in range(1, 6):
        add(store, number, kind="events" if number % 2 else "actuals")
    assert [item.first_seq for item in outbox.pending(store, "a")] == [1, 2, 3, 4, 5]
    assert [item.first_seq for item in outbox.pending(store, "a", newest=True, limit=2)] == [5, 4]
    assert [item.first_seq for item in outbox.pending(store, "a", kinds=("events",))] == [1, 3, 5]
    assert (outbox.pending_count(store), outbox.pending_count(store, "a")) == (5, 5)
    assert outbox.pending(store, "unknown") == []


def test_a_key_is_given_once(store: Store) -> None:
    add(store, 1)
    with pytest.raises(StoreError):
        add(store, 1)
    assert outbox.pending_count(store) == 1
    assert store.counts()["actuals"] == 1, "nothing of the failed transaction stays"


def test_what_is_refused_for_ever_is_set_aside_and_can_be_sent_again(store: Store) -> None:
    number = add(store, 1)
    with store.transaction() as tx:
        outbox.dead_letter(tx, number, "a", "too large" * 100)
    assert outbox.pending(store, "a") == []
    assert [item.id for item in outbox.pending(store, "b")] == [number]
    (letter,) = outbox.dead_letters(store)
    assert (letter.key, letter.sink, letter.records, len(letter.reason)) == ("actuals-1", "a", 1, 500)
    assert outbox.dead_letters(store, "b") == []
    with store.transaction() as tx:
        assert outbox.revive(tx, "b") == 0
        assert outbox.revive(tx) == 1
    assert [item.id for item in outbox.pending(store, "a")] == [number]


def test_dead_letters_are_bounded_and_what_goes_is_declared(store: Store) -> None:
    for number in range(1, outbox.MAX_DEAD_LETTERS + 6):
        id = add(store, number, sinks=("a",))
        with store.transaction() as tx:
            outbox.dead_letter(tx, id, "a", "refused")
    letters = outbox.dead_letters(store)
    assert [letter.key for letter in letters] == [f"actuals-{number}" for number in range(6, 106)]
    gone = [
        event.data for event in store.newest("events") if isinstance(event, Event) and event.type == "loss"
    ]
    assert {number for data in gone for number in range(data["first_seq"], data["last_seq"] + 1)} == {
        1,
        2,
        3,
        4,
        5,
    }
    assert store.losses() == {"refused by the sink 'a'": 5}
