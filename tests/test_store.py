"""The store: sequences, generations, migrations, damage, several processes."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import signal
import sqlite3
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from edge_mlops_monitor import opening, schema
from edge_mlops_monitor.clock import ManualClock
from edge_mlops_monitor.errors import StoreError, StoreFullError, StoreTooNewError
from edge_mlops_monitor.records import Actual, Event, Prediction, Profile, SystemMetric
from edge_mlops_monitor.store import Store
from programs import run, started

APPENDS = """
    import sys
    from edge_mlops_monitor.records import Actual, Prediction
    from edge_mlops_monitor.store import Store

    store = Store(sys.argv[1], device_id="pi-7")
    for turn in range(int(sys.argv[3])):
        with store.transaction() as tx:
            ids = [f"{sys.argv[2]}-{turn}-{i}" for i in range(turn % 5 + 1)]
            tx.append("predictions", [Prediction(id=id) for id in ids])
            tx.append("actuals", [Actual(prediction_id=id) for id in ids])
        print(*ids, sep="\\n", flush=True)
"""


def actuals(count: int, first: int = 0) -> list[Actual]:
    return [Actual(ts=float(i), prediction_id=f"p-{i}", actual=i) for i in range(first, first + count)]


def fill(store: Store, count: int) -> None:
    with store.transaction() as tx:
        tx.append("actuals", actuals(count))


def four_append(path: Path, turns: int) -> list[str]:
    """Four processes at once; the ids that they printed."""
    with ExitStack() as stack:
        writers = [stack.enter_context(started(APPENDS, path, name, turns)) for name in "abcd"]
        printed = [line for writer in writers for line in writer.communicate(timeout=200)[0].split()]
    assert [writer.returncode for writer in writers] == [0, 0, 0, 0]
    return printed


def last_event(store: Store) -> Event:
    event = next(store.newest("events", limit=1))
    assert isinstance(event, Event)
    return event


def integrity(path: Path) -> str:
    connection = sqlite3.connect(path)
    try:
        answer: str = connection.execute("PRAGMA integrity_check").fetchone()[0]
        return answer
    finally:
        connection.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.db"


# - sequences -


def test_four_processes_that_append_at_once_get_contiguous_numbers(path: Path) -> None:
    printed = four_append(path, 40)
    store = Store(path)
    stored = list(store.newest("predictions"))
    assert len(printed) == 4 * 120
    assert sorted(record.id for record in stored if isinstance(record, Prediction)) == sorted(printed)
    assert sorted(record.seq for record in stored) == list(range(1, len(printed) + 1))
    assert sorted(record.seq for record in store.newest("actuals")) == list(range(1, len(printed) + 1))
    assert len({record.generation for record in stored}) == 1
    assert store.counts()["predictions"] == len(printed)


def test_a_transaction_that_fails_leaves_nothing_behind(path: Path) -> None:
    store = Store(path)
    fill(store, 3)

    def fail() -> None:
        with store.transaction() as tx:
            tx.append("actuals", actuals(5))
            tx.put("name", b"value")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert store.counts()["actuals"] == 3
    assert store.get("name") is None
    with store.transaction() as tx:
        assert tx.append("actuals", actuals(2)) == (4, 5)


def test_records_come_back_as_they_were_with_the_envelope_of_the_store(path: Path) -> None:
    clock = ManualClock(synchronised=False)
    store = Store(path, device_id="pi-7", clock=clock)
    metric = SystemMetric(ts=5.0, name="system.cpu.utilization", value=0.5, unit="1", attributes={"cpu": "0"})
    with store.transaction() as tx:
        tx.append("system", [metric])
    (back,) = store.newest("system")
    assert back == SystemMetric(
        ts=5.0,
        seq=1,
        generation=store.generation,
        boot_id="boot-1",
        clock_synced=False,
        device_id="pi-7",
        name="system.cpu.utilization",
        value=0.5,
        unit="1",
        attributes={"cpu": "0"},
    )


def test_newest_first_with_limit_and_times(path: Path) -> None:
    store = Store(path)
    for first in range(0, 100, 10):
        with store.transaction() as tx:
            tx.append("actuals", actuals(10, first))

    def times(**conditions: Any) -> list[float]:
        return [record.ts for record in store.newest("actuals", **conditions)]

    assert times() == [float(i) for i in reversed(range(100))]
    assert times(limit=3) == [99, 98, 97]
    assert times(since=42, until=45) == [45, 44, 43, 42]
    assert times(until=12, limit=2) == [12, 11]
    assert times(since=200) == []


def test_an_unknown_kind_is_refused_by_name(path: Path) -> None:
    with pytest.raises(ValueError, match="unknown kind 'nonsense'; known: predictions"):
        Store(path).blocks("nonsense")


# - several processes -


def test_an_iterator_held_open_in_one_process_never_blocks_a_writer_in_another(path: Path) -> None:
    store = Store(path)
    for _ in range(20):
        fill(store, 10)
    held = store.newest("actuals")
    assert [next(held).seq for _ in range(25)] == list(range(200, 175, -1))
    # A writer that had to wait for the reader's lock would give up, since nothing is read meanwhile.
    assert len(run(APPENDS, path, "other", 10).split()) == 30
    assert [record.seq for record in held] == list(range(175, 0, -1))


def test_a_reader_gets_its_turn_though_others_write_nearly_all_the_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "BUSY_SECONDS", 2.5)
    Store(path).close()
    taken, over = threading.Event(), threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(path, timeout=10.0, isolation_level=None)) as connection:
            while not over.is_set():
                connection.execute("BEGIN EXCLUSIVE")
                taken.set()
                time.sleep(0.185)  # SQLite, left to itself, looks 178, 228, 328, 428 ... ms after this began
                connection.execute("COMMIT")
                time.sleep(0.015)

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(hold)
        try:
            for _ in range(5):
                taken.clear()
                assert taken.wait(60)
                store = Store(path)
                list(store.newest("events"))
                store.close()
        finally:
            over.set()
        held.result()


def test_a_reader_that_dies_half_way_leaves_no_lock(path: Path) -> None:
    store = Store(path)
    fill(store, 100)
    reads = """
        import sys, time
        from edge_mlops_monitor.store import Store
        held = Store(sys.argv[1]).newest("actuals")
        next(held)
        print("reading", flush=True)
        time.sleep(600)
    """
    with started(reads, path) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
    fill(store, 1)
    assert store.counts()["actuals"] == 101


def test_the_file_and_its_journal_are_for_their_owner_only(path: Path) -> None:
    store = Store(path)
    fill(store, 10)
    for file in (path, Path(f"{path}-journal")):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_database_can_be_deleted_under_a_running_process(path: Path) -> None:
    store = Store(path, device_id="pi-7")
    fill(store, 10)
    before = store.generation
    for file in path.parent.iterdir():
        file.unlink()
    with pytest.raises(StoreError):
        fill(store, 5)
    fill(store, 5)
    assert store.generation != before
    assert store.counts()["actuals"] == 5
    assert path.exists()


def test_the_database_can_be_replaced_under_a_running_process(path: Path) -> None:
    store = Store(path, device_id="pi-7")
    fill(store, 10)
    shutil.copy(path, path.parent / "backup")
    fill(store, 10)
    os.replace(path.parent / "backup", path)
    with pytest.raises(StoreError):
        fill(store, 5)
    fill(store, 5)
    event = last_event(store)
    assert event.data["reason"] == "database restored or replaced"
    assert event.data["previous_last_seq"]["actuals"] == 10
    assert [record.seq for record in store.newest("actuals", limit=5)] == [5, 4, 3, 2, 1]


# - migrations and other people's files -


def test_a_database_of_a_newer_version_is_refused_in_one_sentence(path: Path) -> None:
    Store(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    connection.close()
    content = path.read_bytes()
    with pytest.raises(StoreTooNewError) as error:
        Store(path)
    assert "upgrade edge-mlops-monitor" in str(error.value)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == content


def test_a_database_of_an_older_version_is_migrated(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(path)
    fill(store, 3)
    store.close()
    migrations = (*schema.MIGRATIONS, lambda connection: connection.execute("CREATE TABLE later (a)"))
    monkeypatch.setattr(schema, "MIGRATIONS", migrations)
    monkeypatch.setattr(schema, "VERSION", len(migrations))
    store = Store(path)
    assert store.query("SELECT count(*) FROM later") == [(0,)]
    assert store.query("PRAGMA user_version") == [(len(migrations),)]
    assert store.counts()["actuals"] == 3


def test_a_database_without_profiles_gets_room_for_them(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        patch.setattr(schema, "VERSION", 1)
        store = Store(path)
        fill(store, 3)
        assert "profiles" not in store.counts()
        store.close()
    store = Store(path)
    with store.transaction() as tx:
        assert tx.append("profiles", [Profile(feature="a", rows=1)]) == (1, 1)
    assert (store.counts()["actuals"], store.counts()["profiles"]) == (3, 1)


def test_a_migration_that_fails_leaves_the_older_version(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(path).close()

    def broken(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE half (a)")
        connection.execute("CREATE TABLE nonsense (")

    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
        patch.setattr(schema, "VERSION", schema.VERSION + 1)
        with pytest.raises(StoreError):
            Store(path)
    store = Store(path)
    assert store.query("SELECT count(*) FROM sqlite_master WHERE name = 'half'") == [(0,)]
    fill(store, 1)


def test_a_database_of_0_1_1_is_set_aside(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE model_inputs (id TEXT)")
    connection.execute("CREATE TABLE telemetry_batches (id TEXT)")
    connection.execute("INSERT INTO model_inputs VALUES ('old')")
    connection.commit()
    connection.close()
    store = Store(path)
    fill(store, 1)
    assert last_event(store).data["reason"] == "database v0.1, moved to m.db.v0.1"
    old = sqlite3.connect(f"{path}.v0.1")
    assert old.execute("SELECT id FROM model_inputs").fetchall() == [("old",)]
    old.close()


def test_a_database_of_another_program_is_refused_and_untouched(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (a)")
    connection.commit()
    connection.close()
    content = path.read_bytes()
    with pytest.raises(StoreError, match=r"another program; set storage\.sqlite_path"):
        Store(path)
    assert path.read_bytes() == content
    assert [file.name for file in path.parent.iterdir()] == ["m.db"]


def test_a_reader_creates_no_database(path: Path) -> None:
    with pytest.raises(StoreError, match="there is no database"):
        Store(path, create=False)
    assert not path.exists()


@pytest.mark.parametrize("name", ["a" * 300 + ".db", "file.txt/m.db", "folder"])
def test_a_path_that_cannot_be_used_is_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "file.txt").write_text("not a folder")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError) as error:
        Store(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_path_with_odd_characters_is_only_a_path(tmp_path: Path) -> None:
    path = tmp_path / "what? a 100%#name&mode=ro.db"
    fill(Store(path), 1)
    assert path.exists()


# - generations -


def test_a_new_boot_begins_a_generation_that_names_the_previous_one(path: Path) -> None:
    store = Store(path, clock=ManualClock(boot_id="boot-1"))
    fill(store, 7)
    first = store.generation
    store.close()
    store = Store(path, clock=ManualClock(boot_id="boot-1"))
    assert store.generation == first
    store.close()
    store = Store(path, clock=ManualClock(boot_id="boot-2"))
    assert store.generation != first
    fill(store, 2)
    event = last_event(store)
    assert (event.type, event.seq, event.boot_id) == ("generation", 1, "boot-2")
    assert event.data["reason"] == "new boot"
    assert event.data["previous"] == first
    assert event.data["previous_last_seq"] == {"actuals": 7, "events": 1}
    newest = list(store.newest("actuals"))
    assert [(record.seq, record.generation == first) for record in newest[:3]] == [
        (2, False),
        (1, False),
        (7, True),
    ]


def test_a_database_copied_back_begins_a_generation(path: Path) -> None:
    store = Store(path)
    fill(store, 4)
    first = store.generation
    store.close()
    shutil.copy(path, path.parent / "backup")
    store = Store(path)
    fill(store, 6)
    store.close()
    os.replace(path.parent / "backup", path)
    store = Store(path)
    event = last_event(store)
    assert event.data["reason"] == "database restored or replaced"
    assert event.data["previous"] == first
    assert event.data["previous_last_seq"]["actuals"] == 4


def test_a_new_device_id_begins_a_generation(path: Path) -> None:
    store = Store(path, device_id="pi-7")
    fill(store, 4)
    store.close()
    store = Store(path, device_id="pi-8")
    assert (store.device_id, last_event(store).data["reason"]) == ("pi-8", "new device id")
    fill(store, 1)
    assert [record.device_id for record in store.newest("actuals", limit=2)] == ["pi-8", "pi-7"]
    store.close()
    assert Store(path).device_id == "pi-8"


def test_processes_that_open_at_once_after_a_boot_begin_one_generation(path: Path) -> None:
    Store(path, clock=ManualClock(boot_id="long ago")).close()
    four_append(path, 5)
    reasons = [event.data["reason"] for event in Store(path).newest("events") if isinstance(event, Event)]
    assert sorted(reasons) == ["first start", "new boot"]


# - damage -


def damage(path: Path, how: str) -> None:
    size = path.stat().st_size
    if how == "header":
        with path.open("r+b") as file:
            file.write(b"\xff" * 200)
    elif how == "everything":
        path.write_bytes(os.urandom(size))
    else:
        os.truncate(path, {"0 bytes": 0, "100 bytes": 100, "half": size // 2}[how])


@pytest.mark.parametrize("how", ["header", "everything", "100 bytes", "half"])
def test_a_database_damaged_while_closed_is_set_aside_at_once_or_when_met(path: Path, how: str) -> None:
    store = Store(path, device_id="pi-7")
    for _ in range(50):
        fill(store, 100)
    store.close()
    damage(path, how)
    store = Store(path, device_id="pi-7")
    for _ in range(3):
        try:
            fill(store, 10)
            list(store.newest("actuals"))
        except StoreError:
            continue
    assert sum(1 for _ in store.newest("actuals")) >= 10
    assert "damaged" in last_event(store).data["reason"]
    assert (path.parent / "m.db.damaged").exists()
    assert integrity(path) == "ok"


def test_an_empty_file_becomes_a_database(path: Path) -> None:
    store = Store(path)
    fill(store, 5)
    store.close()
    damage(path, "0 bytes")
    store = Store(path)
    fill(store, 3)
    assert store.counts()["actuals"] == 3


def test_a_database_damaged_while_open_is_set_aside_and_a_fresh_one_begun(path: Path) -> None:
    store = Store(path, device_id="pi-7")
    for _ in range(100):
        fill(store, 200)
    before = store.generation
    store.query("PRAGMA cache_size = 1")  # so that the pages are read from the file
    size = path.stat().st_size
    with path.open("r+b") as file:
        for offset in range(4096, size - 4096, 4096):
            file.seek(offset)
            file.write(b"\xde\xad\xbe\xef" * 64)
    failed = 0
    for _ in range(5):
        try:
            fill(store, 10)
            list(store.newest("actuals"))
        except StoreError:
            failed += 1
    assert 1 <= failed <= 2
    assert "damaged" in last_event(store).data["reason"]
    assert integrity(path) == "ok"
    # Cursors that other parts hold in memory go on: the new generation is numbered after the old one.
    assert store.generation > before
    assert store.blocks("actuals", after=int(before[:5]) << 40 | 10_000)


def test_two_processes_that_meet_damage_at_once_share_one_fresh_database(path: Path) -> None:
    store = Store(path, device_id="pi-7")
    for _ in range(50):
        fill(store, 100)
    store.close()
    damage(path, "everything")
    printed = four_append(path, 20)
    stored = [record.id for record in Store(path).newest("predictions") if isinstance(record, Prediction)]
    assert sorted(stored) == sorted(printed)


def test_of_two_that_meet_damage_only_one_sets_the_file_aside(path: Path, monkeypatch: Any) -> None:
    with Store(path, device_id="pi-7").transaction() as tx:
        tx.append("actuals", actuals(1000))
    damage(path, "everything")
    set_aside, second, calls = opening.set_aside, threading.Event(), []

    def slowly(*args: Any) -> str:
        calls.append(args)
        if len(calls) == 2:
            second.set()
        second.wait(0.5)  # long enough for another to come as far as this, if it may
        return set_aside(*args)

    monkeypatch.setattr(opening, "set_aside", slowly)
    with ThreadPoolExecutor(2) as pool:
        stores = list(pool.map(lambda _: Store(path), range(2)))
    for store in stores:
        fill(store, 10)
    assert len(calls) == 1
    assert Store(path).counts()["actuals"] == 20


def test_a_database_that_is_moved_while_it_is_opened_is_begun_anew(path: Path, monkeypatch: Any) -> None:
    Store(path).close()
    real, moved = opening.is_of_version_0_1, path.with_name("moved.db")

    def moves(path: Path, patience: opening.Patience) -> bool:
        if not moved.exists():
            path.rename(moved)
        return real(path, patience)

    monkeypatch.setattr(opening, "is_of_version_0_1", moves)
    fill(Store(path), 10)
    assert Store(path).counts()["actuals"] == 10


def test_a_folder_that_somebody_else_has_locked_delays_the_start_and_no_more(
    path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(opening, "ALONE_SECONDS", 0.05)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        fill(Store(path), 10)
    finally:
        os.close(folder)
    assert Store(path).counts()["actuals"] == 10


# - no space -


@pytest.fixture
def file_size_limit() -> Any:
    """Sets a bound on the size of files that this process writes, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_said_and_nothing_stored_is_lost(path: Path, file_size_limit: Any) -> None:
    store = Store(path)
    fill(store, 100)
    size = path.stat().st_size
    file_size_limit(size)

    def fill_up() -> None:
        while True:
            fill(store, 1000)

    with pytest.raises(StoreFullError, match="free disk space"):
        fill_up()
    stored = store.counts()["actuals"]
    assert path.stat().st_size == size
    with store.transaction() as tx:  # deleting is always possible
        tx.sql("DELETE FROM actuals WHERE key = (SELECT min(key) FROM actuals)")
    file_size_limit(resource.RLIM_INFINITY)
    fill(store, 10)
    assert store.counts()["actuals"] == stored + 10
    assert integrity(path) == "ok"
