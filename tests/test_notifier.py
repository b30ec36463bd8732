"""Callbacks for events where the database cannot be read at the moment they are added."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from edge_mlops_monitor import opening
from edge_mlops_monitor.clock import ManualClock
from edge_mlops_monitor.errors import StoreError
from edge_mlops_monitor.notifier import Notifier
from edge_mlops_monitor.records import Event
from edge_mlops_monitor.store import Store


def said(store: Store, message: str) -> None:
    with store.transaction() as tx:
        tx.event("test", "warning", message)


@pytest.mark.parametrize("boots", [False, True], ids=["the same boot", "a boot with the clock behind"])
def test_events_are_heard_from_when_the_callback_was_added_though_the_database_was_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boots: bool
) -> None:
    monkeypatch.setattr(opening, "BUSY_SECONDS", 0.01)
    path, clock = tmp_path / "m.db", ManualClock()
    earlier = Store(path, clock=clock)
    said(earlier, "before")
    earlier.close()
    clock.advance(1.0)
    if boots:
        clock.boot = "boot-2"
        clock.jump(-1e6)
    heard: list[str] = []

    def hear(event: Event) -> None:
        heard.append(event.message)

    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    notifier = Notifier(lambda: Store(path, clock=clock), clock)
    notifier.add(hear, "warning")
    with pytest.raises(StoreError, match="held by another process"):
        notifier.step(0.0)
    holder.close()
    said(Store(path, clock=clock), "between")
    notifier.step(0.0)
    said(Store(path, clock=clock), "after")
    notifier.step(0.0)
    assert heard == ["between", "after"]
