"""Leases: one holder, taken over at once from a process that is gone, by time where nobody can look."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_mlops_monitor import leases
from edge_mlops_monitor.clock import ManualClock
from edge_mlops_monitor.store import Store
from programs import started

HOLDS = """
    import sys, time
    from edge_mlops_monitor import leases
    from edge_mlops_monitor.store import Store
    print(leases.acquire(Store(sys.argv[1]), "upload"), flush=True)
    time.sleep(600)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.db"


def answer(path: Path) -> bool:
    with started(HOLDS, path) as process:
        assert process.stdout is not None
        return process.stdout.readline() == "True\n"


def test_a_lease_is_one_processs_until_it_is_released(path: Path) -> None:
    store = Store(path)
    assert leases.acquire(store, "upload")
    assert leases.acquire(store, "upload"), "again, by the same"
    assert not answer(path)
    leases.release(store, "upload")
    assert answer(path)


def test_roles_are_held_apart(path: Path) -> None:
    store = Store(path)
    assert leases.acquire(store, "decide")
    assert answer(path)


def test_the_lease_of_a_killed_process_is_taken_over_at_once(path: Path) -> None:
    with started(HOLDS, path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        store = Store(path)
        assert leases.holders(store) == {"upload": holder.pid}
        assert not leases.acquire(store, "upload")
    assert leases.holders(store) == {}
    assert leases.acquire(store, "upload")


def forge(store: Store, **changes: object) -> None:
    """Let a lease look as if somebody else had taken it."""
    with store.transaction() as tx:
        for column, value in changes.items():
            tx.sql(f"UPDATE leases SET {column} = ?", (value,))


def test_a_process_id_given_out_again_is_not_the_holder(path: Path) -> None:
    store = Store(path)
    assert leases.acquire(store, "upload")
    forge(store, pid=1, started="0")
    assert leases.acquire(store, "upload")


def test_a_lease_of_another_boot_is_void(path: Path) -> None:
    store = Store(path, clock=ManualClock(boot_id="before"))
    assert leases.acquire(store, "upload")
    forge(store, pid=1)
    store.close()
    store = Store(path, clock=ManualClock(boot_id="after"))
    assert leases.acquire(store, "upload")


def test_a_holder_in_another_container_keeps_its_lease_for_as_long_as_it_renews_it(path: Path) -> None:
    clock = ManualClock()
    store = Store(path, clock=clock)
    assert leases.acquire(store, "upload", ttl=60)
    forge(store, pid=1, namespace="pid:[elsewhere]")
    clock.advance(59)
    assert not leases.acquire(store, "upload", ttl=60)
    clock.advance(2)
    assert leases.acquire(store, "upload", ttl=60)


def test_a_lease_is_renewed_long_before_it_ends_and_not_every_time(path: Path) -> None:
    clock = ManualClock()
    store = Store(path, clock=clock)

    def renewed() -> float:
        moment: float = store.query("SELECT renewed FROM leases")[0][0]
        return moment

    assert leases.acquire(store, "upload", ttl=60)
    first = renewed()
    clock.advance(15)
    assert leases.acquire(store, "upload", ttl=60)
    assert renewed() == first
    clock.advance(10)
    assert leases.acquire(store, "upload", ttl=60)
    assert renewed() == first + 25


def test_only_ones_own_lease_is_released(path: Path) -> None:
    with started(HOLDS, path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        store = Store(path)
        leases.release(store, "upload")
        assert not leases.acquire(store, "upload")
