"""purge: what was erased is in no file any more, and what will never arrive is declared."""

from __future__ import annotations

import sqlite3
import threading
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_mlops_monitor import EdgeMonitor, opening
from edge_mlops_monitor.erasure import erase
from edge_mlops_monitor.records import Actual, Event
from edge_mlops_monitor.retention import cut_off
from edge_mlops_monitor.store import Store

MARK = "Geheimnis-4711"


def made(tmp_path: Path, sink: bool = True) -> EdgeMonitor:
    config: dict[str, Any] = {"storage": {"sqlite_path": str(tmp_path / "state" / "m.db")}}
    if sink:
        config["sinks"] = {"folder": {"type": "file", "path": str(tmp_path / "bucket")}}
    return EdgeMonitor(config=config)


def on_disk(folder: Path) -> bytes:
    """All bytes of all files, with what is compressed inside them unpacked."""
    found = b"".join(file.read_bytes() for file in (folder / "state").rglob("*") if file.is_file())
    start, unpacked = 0, []
    while (start := found.find(b"\x1f\x8b\x08", start)) >= 0:
        try:
            unpacked.append(zlib.decompressobj(31).decompress(found[start:]))
        except zlib.error:
            pass
        start += 1
    return found + b"".join(unpacked)


def gaps(monitor: EdgeMonitor) -> list[tuple[str, int, int, str]]:
    return [
        (one.data["kind"], one.data["first_seq"], one.data["last_seq"], one.data["reason"])
        for one in list(monitor.events())[::-1]
        if one.type in ("gap", "loss")
    ]


def fill(monitor: EdgeMonitor) -> None:
    for i in range(600):
        marked = MARK if i in (5, 300, 301) else "x"
        monitor.log_prediction({"user": marked, "i": i}, marked, prediction_id=f"p-{i}", timestamp=1000.0 + i)
        monitor.log_actual(f"p-{i}", marked, timestamp=1000.0 + i)
    assert monitor.flush()


def test_one_prediction_is_erased_with_its_labels_from_all_files(tmp_path: Path) -> None:
    monitor = made(tmp_path)
    fill(monitor)
    monitor.log_actual("p-300", f"{MARK} again")
    assert MARK.encode() in on_disk(tmp_path)
    assert monitor.purge(prediction_id="p-5") == {"predictions": 1, "actuals": 1}
    assert monitor.purge(prediction_id="p-300") == {"predictions": 1, "actuals": 2}
    assert monitor.purge(prediction_id="p-301") == {"predictions": 1, "actuals": 1}
    assert monitor.flush()
    assert MARK.encode() not in on_disk(tmp_path)
    assert [one.inputs["i"] for one in monitor.predictions()] == [
        i for i in reversed(range(600)) if i not in (5, 300, 301)
    ]
    assert monitor.get_status()["prediction_count"] == 597
    assert monitor.get_status()["dropped"] == {}, "wished for, hence no loss"
    assert ("predictions", 6, 6, "purged") in gaps(monitor)
    assert monitor.purge(prediction_id="p-5") == {"predictions": 0, "actuals": 0}
    monitor.stop()


def test_a_prediction_that_still_waits_in_memory_is_erased_as_well(tmp_path: Path) -> None:
    monitor = made(tmp_path)
    id = monitor.log_prediction({"user": MARK}, 1)
    half = monitor.log_model_input({"user": MARK})
    assert monitor.purge(prediction_id=id)["predictions"] == 1
    assert monitor.purge(prediction_id=half)["predictions"] == 1
    assert monitor.flush()
    assert MARK.encode() not in on_disk(tmp_path)
    monitor.log_model_output(half, "late")
    assert monitor.flush()
    assert MARK.encode() not in on_disk(tmp_path), "an output that comes later does not bring it back"
    monitor.stop()


def test_everything_before_a_time_is_erased_from_all_files(tmp_path: Path) -> None:
    monitor = made(tmp_path)
    fill(monitor)
    erased = monitor.purge(before=1302.0)
    assert (erased["predictions"], erased["actuals"]) == (302, 302)
    assert monitor.flush()
    assert MARK.encode() not in on_disk(tmp_path)
    assert [one.ts for one in monitor.predictions()] == [1000.0 + i for i in reversed(range(302, 600))]
    assert ("predictions", 1, 302, "purged") in joined(gaps(monitor))
    monitor.stop()


def joined(found: list[tuple[str, int, int, str]]) -> list[tuple[str, int, int, str]]:
    """Ranges of one kind that follow each other as one."""
    out: list[tuple[str, int, int, str]] = []
    for kind, first, last, reason in sorted(found):
        if out and out[-1][0] == kind and out[-1][2] == first - 1 and out[-1][3] == reason:
            out[-1] = (kind, out[-1][1], last, reason)
        else:
            out.append((kind, first, last, reason))
    return out


def test_objects_that_wait_for_upload_lose_it_and_keep_the_rest(tmp_path: Path) -> None:
    monitor = made(tmp_path)
    fill(monitor)
    monitor.create_telemetry_batch(max_records=10_000)
    assert MARK.encode() in on_disk(tmp_path)
    for i in (5, 300, 301):
        monitor.purge(prediction_id=f"p-{i}")
    assert MARK.encode() not in on_disk(tmp_path)
    assert monitor.upload_now()["pending"] == 0
    rows = uploaded(tmp_path)
    assert sorted(row["seq"] for row in rows["predictions"]) == [
        i + 1 for i in range(600) if i not in (5, 300, 301)
    ]
    declared = [row["data"] for row in rows["events"] if row["type"] == "gap"]
    numbers = {
        number
        for data in declared
        if data["kind"] == "predictions"
        for number in range(data["first_seq"], data["last_seq"] + 1)
    }
    assert numbers == {6, 301, 302}
    assert MARK not in repr(rows)
    monitor.stop()


def uploaded(tmp_path: Path) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for file in (tmp_path / "bucket").rglob("*.jsonl.gz"):
        kind = file.parent.parent.name.removeprefix("kind=")
        for line in zlib.decompress(file.read_bytes(), 31).splitlines():
            rows.setdefault(kind, []).append(msgspec.json.decode(line))
    return rows


def test_what_was_superseded_before_is_gone_as_well(tmp_path: Path) -> None:
    monitor = made(tmp_path, sink=False)
    for turn in range(3):
        for i in range(50):
            monitor.log_prediction({"user": f"{MARK}-{turn}"}, 1, prediction_id=f"p-{i}")
        assert monitor.flush()
    monitor.purge(before="0s")
    assert MARK.encode() not in on_disk(tmp_path)
    monitor.stop()


def test_what_is_logged_again_after_a_purge_is_kept(tmp_path: Path) -> None:
    monitor = made(tmp_path, sink=False)
    monitor.log_prediction(1, 1, prediction_id="p")
    monitor.purge(prediction_id="p")
    monitor.log_prediction(2, 2, prediction_id="p")
    assert monitor.flush()
    assert [one.inputs for one in monitor.predictions()] == [2]
    assert monitor.get_status()["dropped"] == {}
    monitor.stop()


def test_purge_asks_for_what_to_erase(tmp_path: Path) -> None:
    monitor = made(tmp_path)
    with pytest.raises(ValueError, match="purge needs before"):
        monitor.purge()
    with pytest.raises(ValueError, match="is no time"):
        monitor.purge(before="soon")
    monitor.stop()


def test_events_before_a_time_go_but_not_what_declares_the_purge(tmp_path: Path) -> None:
    monitor = made(tmp_path)
    fill(monitor)
    monitor.purge(before="0s")
    left = [one for one in monitor.events() if isinstance(one, Event)]
    assert {one.type for one in left} == {"gap"}
    assert monitor.get_status()["prediction_count"] == 0
    monitor.stop()


def test_what_was_erased_leaves_the_journal_also_where_another_process_writes(tmp_path: Path) -> None:
    store = Store(tmp_path / "m.db")
    connection = store._connection
    assert connection is not None
    with store.transaction() as tx:
        assert not cut_off(tx.sql, 1000)
    (tmp_path / "m.db-journal").write_bytes(bytes(512) + MARK.encode() * 100_000)
    other = sqlite3.connect(tmp_path / "m.db", isolation_level=None, check_same_thread=False)
    with closing(other):
        release = threading.Timer(0.2, other.execute, ("COMMIT",))
        seen: list[str] = []

        def write_at_once(sql: str) -> None:
            if (
                seen and seen[-1] == "COMMIT" and not release.ident
            ):  # the pages have gone, the journal is next
                other.execute("BEGIN IMMEDIATE")
                release.start()
            seen.append(sql)

        connection.set_trace_callback(write_at_once)
        store.scrub()
        connection.set_trace_callback(None)
        release.join()
    assert MARK.encode() not in (tmp_path / "m.db-journal").read_bytes()
    store.close()


def test_many_small_blocks_are_erased_in_few_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "m.db", max_bytes=16 << 20)
    for i in range(300):
        with store.transaction() as tx:
            tx.append("actuals", [Actual(ts=float(i), prediction_id=f"p-{i}", actual=1)])
    commits: list[int] = []
    commit = opening.commit

    def counted(connection: opening.Connection) -> None:
        commits.append(1)
        commit(connection)

    monkeypatch.setattr(opening, "commit", counted)
    assert erase(store, before=200.0)["actuals"] == 200
    assert [one.ts for one in store.newest("actuals")] == [float(i) for i in range(299, 199, -1)]
    assert len(commits) < 50
    store.close()
