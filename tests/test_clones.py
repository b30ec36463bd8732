"""Clones: a database on other hardware counts on under another id, says so, and overwrites nothing."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_mlops_monitor.clock import ManualClock
from edge_mlops_monitor.config import Config
from edge_mlops_monitor.hardware import fingerprint, is_other
from edge_mlops_monitor.identity import check_device_id, default_device_id
from edge_mlops_monitor.records import Event
from edge_mlops_monitor.runtime import Runtime
from edge_mlops_monitor.store import Store

MACHINE_ID = "4b1c9d2e8f7a4c3db2a1908f7e6d5c4b"
SERIAL = "proc/device-tree/serial-number"
UUID = "sys/class/dmi/id/product_uuid"
BOARD = "sys/class/dmi/id/board_serial"
CPU = "proc/cpuinfo"
A, B, C = "10000000abcdef01", "10000000abcdef02", "10000000abcdef03"


def machine(root: Path, files: dict[str, str]) -> Path:
    """The files by which a machine tells who it is, on a card that is the same in all of them."""
    for name, text in {"etc/machine-id": MACHINE_ID, "etc/hostname": "pi-7", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


def cpuinfo(serial: str) -> str:
    return f"processor\t: 0\nBogoMIPS\t: 108.00\n\nHardware\t: BCM2835\nSerial\t\t: {serial}"


# - the hardware -


@pytest.mark.parametrize(
    ("place", "one", "other"),
    [
        (SERIAL, A + "\0", B + "\0"),
        ("sys/firmware/devicetree/base/serial-number", A, B),
        (CPU, cpuinfo(A), cpuinfo(B)),
        (UUID, "4c4c4544-0042-3510-8051-b4c04f4d3232", "4c4c4544-0042-3510-8051-b4c04f4d3233"),
        (BOARD, ".ABC1234.CN7016", ".ABC1235.CN7016"),
        ("sys/class/dmi/id/product_serial", "VMware-56 4d 1f", "VMware-56 4d 20"),
    ],
)
def test_a_copied_card_in_another_board_is_on_other_hardware(
    tmp_path: Path, place: str, one: str, other: str
) -> None:
    first = fingerprint(machine(tmp_path / "a", {place: one}))
    assert len(first) == 1
    assert not is_other(first, fingerprint(machine(tmp_path / "a again", {place: one})))
    assert is_other(first, fingerprint(machine(tmp_path / "b", {place: other})))


def test_what_is_replaced_or_updated_in_the_life_of_a_board_is_not_looked_at(tmp_path: Path) -> None:
    pi = machine(tmp_path / "pi", {SERIAL: A, CPU: cpuinfo(A)})
    before = fingerprint(pi)
    for name, text in {
        "etc/machine-id": "0" * 31 + "1",
        "etc/hostname": "renamed",
        "proc/version": "Linux version 7.0",
        "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.5",
        CPU: cpuinfo(A).replace("108.00", "54.00"),
        "sys/class/net/eth0/address": "dc:a6:32:00:00:01",
        "sys/block/mmcblk0/device/cid": "1b534d45423151543035",
        "sys/bus/usb/devices/1-1/serial": "0401B2",
    }.items():
        (pi / name).parent.mkdir(parents=True, exist_ok=True)
        (pi / name).write_text(text)
        assert fingerprint(pi) == before, name


def test_what_cannot_be_read_is_absent_and_not_different(tmp_path: Path) -> None:
    as_root = machine(tmp_path / "root", {UUID: "4c4c4544-0042-3510-8051-b4c04f4d3232", BOARD: ".ABC1234."})
    as_user = machine(tmp_path / "user", {})
    (as_user / UUID).mkdir(parents=True)  # cannot be read as a file, whoever tries
    assert fingerprint(as_user) == {}
    assert not is_other(fingerprint(as_root), fingerprint(as_user))
    assert not is_other(fingerprint(as_user), fingerprint(as_root))


def test_one_number_that_new_firmware_changed_is_not_other_hardware(tmp_path: Path) -> None:
    before = machine(tmp_path / "a", {UUID: "4c4c4544-0042-3510-8051-b4c04f4d3232", BOARD: ".ABC1234."})
    after = machine(tmp_path / "b", {UUID: "44454c4c-4200-1035-8051-b4c04f4d3232", BOARD: ".ABC1234."})
    assert not is_other(fingerprint(before), fingerprint(after))


@pytest.mark.parametrize(
    "text",
    [
        "To be filled by O.E.M.",
        "Default string",
        "None",
        "Not Specified",
        "",
        "0000000000000000",
        "00000000-0000-0000-0000-000000000000",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "0123456789ABCDEF",
        "123456789",
        "03000200-0400-0500-0006-000700080009",
    ],
)
def test_what_makers_leave_where_a_number_should_be_identifies_nothing(tmp_path: Path, text: str) -> None:
    assert fingerprint(machine(tmp_path / "pc", {UUID: text, BOARD: text})) == {}
    assert fingerprint(machine(tmp_path / "pi", {SERIAL: text, CPU: cpuinfo(text)})) == {}


def test_of_the_hardware_only_short_hashes_are_kept(tmp_path: Path) -> None:
    database, pi = tmp_path / "m.db", machine(tmp_path / "pi", {SERIAL: A})
    Store(database, root=pi, clock=ManualClock()).close()
    store = Store(database, root=machine(tmp_path / "pi2", {SERIAL: B}), clock=ManualClock(boot_id="2"))
    assert all(len(one) == 8 for one in json.loads(store.get("hardware") or b"").values())
    store.close()
    for raw in (A, B, MACHINE_ID):
        assert raw[-8:].encode() not in database.read_bytes()


def test_this_machine_is_itself() -> None:
    assert not is_other(fingerprint(), fingerprint())


def test_looking_at_the_hardware_does_not_bring_openssl(tmp_path: Path) -> None:
    pytest.importorskip("_blake2")
    pi = machine(tmp_path / "pi", {SERIAL: A})
    program = (
        "import sys; from edge_mlops_monitor.hardware import fingerprint; "
        f"assert fingerprint({str(pi)!r}); assert '_hashlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# - the database on it -


class Card:
    """A database on a card, started in one board after another; each start is a boot."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.boots = 0

    def start(self, board: str | dict[str, str], device_id: str = "") -> str:
        """Under which id the device counts once it has started."""
        self.boots += 1
        files = {SERIAL: board} if isinstance(board, str) else board
        root = machine(self.folder / f"machine-{self.boots}", files)
        clock = ManualClock(boot_id=f"{self.folder.name}, boot {self.boots}")
        store = Store(self.database, device_id=device_id, root=root, clock=clock)
        store.close()
        return store.device_id

    @property
    def database(self) -> Path:
        return self.folder / "m.db"

    def copy(self, folder: Path) -> Card:
        shutil.copytree(self.folder, folder)
        return Card(folder)

    def clones(self) -> list[Event]:
        """The events about it, oldest first."""
        store = Store(self.database, create=False)
        found = [one for one in store.newest("events") if isinstance(one, Event) and one.type == "clone"]
        store.close()
        return found[::-1]


@pytest.fixture
def card(tmp_path: Path) -> Card:
    (tmp_path / "card").mkdir()
    return Card(tmp_path / "card")


def test_a_copied_card_takes_a_new_id_in_another_board_and_says_so_once(
    card: Card, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    original = card.start(A)
    copied = card.copy(tmp_path / "copy")
    clone = copied.start(B)
    assert check_device_id(clone) != original
    assert clone.startswith("pi-7-")
    assert copied.start(B) == clone
    assert card.start(A) == original
    assert card.clones() == []
    (event,) = copied.clones()
    assert (event.severity, event.device_id) == ("warning", clone)
    assert event.data == {"device_id": clone, "previous": original}
    assert f"the device is {clone} from now on, it was {original}" in event.message
    assert caplog.messages == [event.message]


def test_the_event_comes_in_a_generation_of_its_own_that_names_the_previous_one(card: Card) -> None:
    card.start(A)
    first = Store(card.database, create=False).generation
    clone = card.start(B)
    store = Store(card.database, create=False)
    told, began = [one for one in store.newest("events", limit=2) if isinstance(one, Event)]
    assert (began.type, began.seq, told.type, told.seq) == ("generation", 1, "clone", 2)
    assert (began.data["reason"], began.data["previous"]) == ("other hardware", first)
    assert began.generation == told.generation == store.generation != first
    assert began.device_id == clone
    store.close()


def test_every_copy_has_an_id_of_its_own(card: Card, tmp_path: Path) -> None:
    ids = [card.start(A)]
    ids += [card.copy(tmp_path / f"copy {i}").start(f"{i}0000000abcdef99") for i in range(2, 8)]
    assert len(set(ids)) == 7


def test_a_copy_whose_database_is_lost_keeps_its_id(card: Card) -> None:
    original = card.start(A)
    clone = card.start(B)
    card.database.unlink()
    assert card.start(B) == clone != original
    assert card.clones() == []


@pytest.mark.parametrize("place", [SERIAL, BOARD])
def test_a_copy_of_a_copy_does_not_come_back_to_the_id_of_the_original(
    card: Card, tmp_path: Path, place: str
) -> None:
    original = card.start({place: A})
    copied = card.copy(tmp_path / "copy")
    ids = [copied.start({place: board}) for board in (B, C, B)]
    assert original not in ids
    assert ids[0] == ids[2] != ids[1]
    assert [event.data["device_id"] for event in copied.clones()] == ids


def test_a_database_alone_copied_to_another_machine_takes_an_id_of_that_machine(
    card: Card, tmp_path: Path
) -> None:
    original = card.start(A)
    other = card.start({SERIAL: B, "etc/machine-id": "9" * 31 + "1", "etc/hostname": "press"})
    assert other.startswith("press-")
    assert other != original


def test_boots_updates_and_restarts_of_a_container_change_no_id(card: Card) -> None:
    original = card.start({SERIAL: A, CPU: cpuinfo(A)})
    assert original == default_device_id(card.folder / "machine-1")
    assert card.start({SERIAL: A, CPU: cpuinfo(A), "proc/version": "Linux version 7.0"}) == original
    assert card.start({CPU: cpuinfo(A)}) == original  # a container, from which /proc/device-tree is hidden
    os.replace(shutil.copy(card.database, card.folder / "new"), card.database)  # moved to another file
    assert card.start({SERIAL: A}) == original
    assert card.clones() == []


def test_a_machine_without_numbers_of_its_own_never_takes_a_new_id(card: Card, tmp_path: Path) -> None:
    original = card.start({})
    copied = card.copy(tmp_path / "copy")
    assert copied.start({}) == copied.start({UUID: "None"}) == original
    assert copied.clones() == []


def test_what_could_be_read_once_is_kept_for_when_it_can_be_read_again(card: Card, tmp_path: Path) -> None:
    original = card.start({})
    assert card.start({SERIAL: A}) == original
    assert card.start({}) == original
    assert card.start({CPU: cpuinfo(A)}) == original
    assert card.clones() == []
    copied = card.copy(tmp_path / "copy")
    assert copied.start({SERIAL: B}) != original
    assert card.start({SERIAL: A}) == original


@pytest.mark.parametrize("state", [b"", b"{", b"[1]", b'{"serial-number": 7}', b"\xff"])
def test_a_damaged_memory_of_the_hardware_changes_no_id(card: Card, state: bytes) -> None:
    original = card.start(A)
    store = Store(card.database, clock=ManualClock(boot_id="damage"), root=card.folder / "machine-1")
    with store.transaction() as tx:
        tx.put("hardware", state)
    store.close()
    assert card.start(B) == original
    assert card.clones() == []
    assert card.start(C) != original


def test_an_id_from_the_config_stays_and_the_event_says_what_to_do(card: Card) -> None:
    assert card.start(A, device_id="press-7") == "press-7"
    assert card.start(B, device_id="press-7") == "press-7"
    (event,) = card.clones()
    assert event.data == {"device_id": "press-7", "previous": "press-7"}
    assert "press-7 comes from the config and stays; where both run, give one another" in event.message
    assert card.start(B, device_id="press-7") == "press-7"
    assert len(card.clones()) == 1


# - and its objects -


def started(card: Card, board: str, bucket: Path) -> Runtime:
    """A monitor on the card, which uploads to the bucket."""
    card.boots += 1
    config = {
        "storage": {"sqlite_path": str(card.database)},
        "sinks": {"bucket": {"type": "file", "path": str(bucket)}},
    }
    clock = ManualClock(boot_id=f"{card.folder.name}, boot {card.boots}")
    root = machine(card.folder / f"machine-{card.boots}", {SERIAL: board})
    return Runtime(Config.from_dict(config), clock, str(root))


def log(runtime: Runtime, *values: int) -> None:
    for value in values:
        runtime.recorder.log_prediction({"x": value}, {"y": value})
    assert runtime.recorder.flush(60)


def objects(bucket: Path) -> dict[str, bytes]:
    return {str(path.relative_to(bucket)): path.read_bytes() for path in bucket.rglob("*.jsonl.gz")}


def rows(bucket: Path, kind: str) -> list[dict[str, Any]]:
    found = [text for key, text in objects(bucket).items() if f"kind={kind}" in key]
    return [json.loads(line) for text in found for line in gzip.decompress(text).splitlines()]


def test_two_clones_upload_beside_each_other_and_neither_overwrites_the_other(
    card: Card, tmp_path: Path
) -> None:
    bucket = tmp_path / "bucket"
    one = started(card, A, bucket)
    log(one, 1, 2, 3)  # in the copy too, and not uploaded yet
    one.stop()
    copied = card.copy(tmp_path / "copy")
    for value, (moment, board) in enumerate(((card, A), (copied, B), (card, A), (copied, B))):
        kept = objects(bucket)
        runtime = started(moment, board, bucket)
        log(runtime, 10 + value)
        assert runtime.upload_now(60, None)["pending"] == 0
        runtime.stop()
        assert kept.items() <= objects(bucket).items()
    found = rows(bucket, "predictions")
    assert sorted(row["inputs"]["x"] for row in found) == [1, 2, 3, 10, 11, 12, 13]
    assert len({(row["device_id"], row["generation"], row["seq"]) for row in found}) == len(found)
    ids = {value: row["device_id"] for row in found for value in row["inputs"].values()}
    assert ids[1] == ids[2] == ids[3] == ids[10] == ids[12]
    assert ids[11] == ids[13] != ids[1]
    (event,) = [row for row in rows(bucket, "events") if row["type"] == "clone"]
    assert (event["device_id"], event["data"]["previous"]) == (ids[11], ids[1])
    assert "renumbered" not in {row["type"] for row in rows(bucket, "events")}
