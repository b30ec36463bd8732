"""The device id, on captured trees."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_mlops_monitor.identity import (
    check_device_id,
    default_device_id,
    random_device_id,
)

MACHINE_ID = "4b1c9d2e8f7a4c3db2a1908f7e6d5c4b"
SERIAL = "10000000abcdef01"
CPUINFO = "processor\t: 0\nBogoMIPS\t: 108.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n"


def tree(root: Path, **files: str) -> Path:
    """A captured file system; `__` in a name stands for a slash and `_` after it stays."""
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("_", "-")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.fixture
def pi(tmp_path):
    return tree(
        tmp_path,
        etc__machine_id=f"{MACHINE_ID}\n",
        etc__hostname="pi-7.factory.example\n",
        proc__device_tree__serial_number=f"{SERIAL}\0",
        proc__device_tree__model="Raspberry Pi 4 Model B Rev 1.4\0",
        proc__cpuinfo=CPUINFO,
    )


def test_the_id_is_the_host_name_and_a_hash(pi):
    assert re.fullmatch(r"pi-7-[0-9a-f]{8}", default_device_id(pi))


def test_the_id_is_the_same_each_time_and_does_not_follow_the_cpu(pi):
    before = default_device_id(pi)
    tree(pi, proc__cpuinfo="processor\t: 0\nBogoMIPS\t: 999.00\n")
    assert default_device_id(pi) == before


def test_no_raw_identity_is_in_the_id(pi):
    for raw in (MACHINE_ID, SERIAL):
        assert not any(raw[i : i + 8] in default_device_id(pi) for i in range(len(raw) - 7))


def test_two_machines_differ(pi):
    before = default_device_id(pi)
    tree(pi, etc__machine_id="0" * 31 + "1\n")
    assert default_device_id(pi) != before


def test_a_card_that_was_copied_before_its_first_start_gives_each_board_an_id_of_its_own(pi):
    before = default_device_id(pi)
    tree(pi, proc__device_tree__serial_number="10000000ffffffff\0")
    assert default_device_id(pi) != before


@pytest.mark.parametrize("placeholder", ["uninitialized", "", "0" * 32])
def test_the_serial_number_takes_over_where_the_machine_id_is_a_placeholder(pi, placeholder):
    tree(pi, etc__machine_id=f"{placeholder}\n")
    first = default_device_id(pi)
    tree(pi, proc__device_tree__serial_number="10000000ffffffff\0")
    assert default_device_id(pi) not in (first, None)


def test_a_machine_without_identity_has_no_default_but_a_random_id(tmp_path):
    assert default_device_id(tmp_path) is None
    assert random_device_id(tmp_path) != random_device_id(tmp_path)
    assert check_device_id(random_device_id(tmp_path)).startswith("device-")


@pytest.mark.parametrize("name", ["x" * 300, "büro küche", "....", "-", "a.b.c", "Ω", "pi_7"])
def test_any_host_name_makes_a_valid_id(pi, name):
    tree(pi, etc__hostname=name + "\n")
    assert check_device_id(default_device_id(pi))
    assert check_device_id(random_device_id(pi))


def test_this_machine_has_a_valid_id():
    found = default_device_id()
    assert found is None or check_device_id(found)


@pytest.mark.parametrize("text", ["", "a b", "a/b", "a\n", "ä", "x" * 65, "a\0"])
def test_an_invalid_id_is_refused_in_one_sentence(text):
    with pytest.raises(ValueError, match="use 1 to 64 letters") as caught:
        check_device_id(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a", "pi-7", "A.b_c-9", "x" * 64])
def test_a_valid_id_is_taken(text):
    assert check_device_id(text) == text
