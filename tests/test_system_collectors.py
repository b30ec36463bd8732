"""Each collector against captured /proc and /sys trees whose values are known."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from edge_mlops_monitor.records import SystemMetric
from edge_mlops_monitor.system import COLLECTORS
from edge_mlops_monitor.system.filesystem import mount_of, parse_mountinfo

Tree = Callable[[str], Path]


def series(metrics: Iterable[SystemMetric]) -> dict[tuple[str, ...], float]:
    """Values by name and attribute values."""
    return {(metric.name, *metric.attributes.values()): metric.value for metric in metrics}


@pytest.fixture
def procfs(captured_tree: Tree) -> Path:
    return captured_tree("procfs") / "fixtures"


@pytest.fixture
def telegraf(captured_tree: Tree) -> Path:
    return captured_tree("telegraf") / "plugins" / "inputs"


# CPU


def expected_busy(path: Path) -> dict[str, float]:
    """What Telegraf expects, as busy shares by CPU ("cpu-total" is all)."""
    busy = {}
    for line in path.read_text().splitlines():
        usage = {name: float(value) for name, value in re.findall(r"usage_(\w+)=([-\d.e]+)", line)}
        cpu = re.search(r"cpu=(\S+?)[, ]", line)
        assert cpu
        busy[cpu[1]] = 1 - (usage["idle"] + usage["iowait"]) / 100
    return busy


def cpu_readings(cases: Path, tmp_path: Path) -> list[dict[str, float]]:
    """One collector over successive /proc/stat files."""
    collector = COLLECTORS["cpu"](proc=tmp_path)
    readings = []
    for now, folder in enumerate(sorted(cases.glob("proc*"))):
        (tmp_path / "stat").write_bytes((folder / "stat").read_bytes())
        found = collector.collect(float(now))
        names = [metric.attributes.get("cpu.logical_number") for metric in found]
        readings.append(
            {
                f"cpu{name}" if name is not None else "cpu-total": metric.value
                for name, metric in zip(names, found, strict=True)
            }
        )
    return readings


@pytest.mark.parametrize("case", ["default", "cpu_count_increase", "cpu_count_decrease"])
def test_cpu_shares_are_those_that_telegraf_expects(case: str, telegraf: Path, tmp_path: Path) -> None:
    cases = telegraf / "cpu" / "testcases" / case
    first, second = cpu_readings(cases, tmp_path)
    assert first == {}  # a share needs two readings
    assert second == pytest.approx(expected_busy(cases / "proc1" / "expected.out"), abs=1e-9)


def test_cpu_counters_that_went_back_are_left_out_until_the_next_sample(
    telegraf: Path, tmp_path: Path
) -> None:
    cases = telegraf / "cpu" / "testcases" / "cpu_times_decrease"
    _, decreased, after = cpu_readings(cases, tmp_path)
    assert decreased == {}
    assert after == pytest.approx(expected_busy(cases / "proc2" / "expected.out"), abs=1e-9)


def test_a_cpu_share_stays_between_0_and_1_when_only_the_idle_time_went_back(tmp_path: Path) -> None:
    collector = COLLECTORS["cpu"](proc=tmp_path)
    for idle, user in ((100, 0), (90, 50)):
        (tmp_path / "stat").write_text(f"cpu  {user} 0 0 {idle} 0 0 0 0 0 0\n")
        found = collector.collect(0.0)
    assert [metric.value for metric in found] == [1.0]


def test_a_stat_file_without_cpu_lines_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("intr 1 2 3\n")
    with pytest.raises(ValueError, match="no line of CPU times"):
        COLLECTORS["cpu"](proc=tmp_path).collect(0.0)


# Load, memory, uptime


def test_load_averages(procfs: Path) -> None:
    assert series(COLLECTORS["load"](proc=procfs / "proc").collect(0.0)) == {
        ("system.cpu.load_average.1m",): 0.02,
        ("system.cpu.load_average.5m",): 0.04,
        ("system.cpu.load_average.15m",): 0.05,
    }


def test_memory_states_add_up_to_the_memory_there_is(procfs: Path) -> None:
    found = series(COLLECTORS["memory"](proc=procfs / "proc").collect(0.0))
    kib = 1024
    used = (15666184 - 440324 - 1020128 - 12007640 - 1738124) * kib
    assert found == {
        ("system.memory.usage", "used"): used,
        ("system.memory.usage", "free"): 440324 * kib,
        ("system.memory.usage", "buffers"): 1020128 * kib,
        ("system.memory.usage", "cached"): (12007640 + 1738124) * kib,
        ("system.memory.utilization", "used"): pytest.approx(used / (15666184 * kib)),
    }  # this machine has no swap, and its kernel no MemAvailable


def test_swap_and_available_memory_are_reported_where_there_are_any(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(
        "MemTotal: 100 kB\nMemFree: 40 kB\nMemAvailable: 70 kB\nSwapTotal: 8 kB\nSwapFree: 6 kB\n"
    )
    found = series(COLLECTORS["memory"](proc=tmp_path).collect(0.0))
    assert found["system.linux.memory.available",] == 70 * 1024
    assert found["system.paging.usage", "used"] == 2 * 1024
    assert found["system.paging.usage", "free"] == 6 * 1024
    assert found["system.paging.utilization", "used"] == 0.25


def test_uptime(tmp_path: Path) -> None:
    (tmp_path / "uptime").write_text("350735.47 234388.90\n")
    assert series(COLLECTORS["uptime"](proc=tmp_path).collect(0.0)) == {("system.uptime",): 350735.47}


# Disks and file systems


def test_disk_counters_are_of_whole_disks_that_were_used(procfs: Path) -> None:
    found = series(COLLECTORS["disk_io"](proc=procfs / "proc").collect(0.0))
    assert {device for _, device, _ in found} == {"sda", "mmcblk0", "vda", "nvme0n1", "sdb", "sdc"}
    assert found["system.disk.io", "sda", "read"] == 1003346126 * 512
    assert found["system.disk.io", "sda", "write"] == 505697032 * 512
    assert found["system.disk.operations", "mmcblk0", "read"] == 192
    assert found["system.disk.operations", "mmcblk0", "write"] == 0


def test_a_path_belongs_to_the_longest_mount_point_above_it(telegraf: Path) -> None:
    table = (telegraf / "disk/testdata/issue_10297/proc/1/mountinfo").read_text()
    mounts = parse_mountinfo(table)
    assert mount_of("/mnt/storage/edge.db", mounts).device == "/dev/sdb"
    assert mount_of("/mnt/storage2/edge.db", mounts).device == "/dev/sda1"


def test_the_file_system_of_the_database_is_reported_beside_the_root(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "mountinfo").write_text(
        "31 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n"
        f"32 31 8:2 / {tmp_path} rw shared:1 - ext4 /dev/sdb1 rw\n"
        "33 31 0:5 / /proc rw - proc proc rw\n"
    )
    database = tmp_path / "not" / "yet" / "created.db"
    found = series(COLLECTORS["filesystem"](proc=tmp_path, paths=[str(database)]).collect(0.0))
    assert {(device, mountpoint) for _, device, mountpoint, _ in found} == {
        ("/dev/sda1", "/"),
        ("/dev/sdb1", str(tmp_path)),
    }
    used = found["system.filesystem.usage", "/dev/sdb1", str(tmp_path), "used"]
    free = found["system.filesystem.usage", "/dev/sdb1", str(tmp_path), "free"]
    share = found["system.filesystem.utilization", "/dev/sdb1", str(tmp_path), "used"]
    assert 0 < share <= 1
    assert share == pytest.approx(used / (used + free))


# Network


def test_network_counters_leave_out_loopback_and_containers(procfs: Path) -> None:
    found = series(COLLECTORS["network"](proc=procfs / "proc").collect(0.0))
    assert found == {
        ("system.network.io", "eth0", "receive"): 874354587,
        ("system.network.io", "eth0", "transmit"): 563352563,
    }


def test_network_errors_are_reported_from_the_first_on(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "dev").write_text(
        "Inter-|   Receive |  Transmit\n face |bytes packets|bytes\n"
        " wlan0: 10 1 2 3 0 0 0 0 20 1 0 0 0 0 0 0\n  usb0: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
    )
    assert series(COLLECTORS["network"](proc=tmp_path).collect(0.0)) == {
        ("system.network.io", "wlan0", "receive"): 10,
        ("system.network.errors", "wlan0", "receive"): 2,
        ("system.network.packet.dropped", "wlan0", "receive"): 3,
        ("system.network.io", "wlan0", "transmit"): 20,
    }


def test_no_more_interfaces_than_the_bound_are_reported(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    lines = [f"eth{number}: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0" for number in range(100)]
    (tmp_path / "net" / "dev").write_text("\n".join(lines))
    bounded = COLLECTORS["network"](proc=tmp_path).collect(0.0)
    assert {metric.attributes["network.interface.name"] for metric in bounded} == {
        f"eth{n}" for n in range(16)
    }
    assert len(COLLECTORS["network"](proc=tmp_path, max_devices=2).collect(0.0)) == 4


# Temperatures


def test_thermal_zones_of_a_raspberry_pi_and_a_pc(procfs: Path) -> None:
    assert series(COLLECTORS["thermal"](sys=procfs / "sys").collect(0.0)) == {
        ("hw.temperature", "thermal_zone0", "bcm2835_thermal"): 49.925,
        ("hw.temperature", "thermal_zone1", "acpitz"): -44.0,
    }


def test_hardware_monitors_with_their_labels(telegraf: Path) -> None:
    tree = telegraf / "temp" / "testcases" / "general" / "sys"
    assert series(COLLECTORS["thermal"](sys=tree).collect(0.0)) == {
        ("hw.temperature", "hwmon0/temp1", "nvme Composite"): 35.85,
        ("hw.temperature", "hwmon0/temp2", "nvme Sensor 1"): 35.85,
        ("hw.temperature", "hwmon0/temp3", "nvme Sensor 2"): 38.85,
        ("hw.temperature", "hwmon1/temp1", "k10temp Tctl"): 33.25,
        ("hw.temperature", "hwmon1/temp3", "k10temp Tccd1"): 33.25,
    }


def write_files(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_sensors_that_cannot_be_read_or_believed_are_left_out(tmp_path: Path) -> None:
    zones = write_files(
        tmp_path,
        {
            "class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "class/thermal/thermal_zone0/temp": "51000\n",
            "class/thermal/thermal_zone1/type": "off\n",  # has no temp at all
            "class/thermal/thermal_zone2/temp": "-273150\n",
            "class/thermal/thermal_zone3/temp": "\n",
            "class/thermal/thermal_zone5/type": "battery\n",
            "class/thermal/thermal_zone5/temp": "20000\n",
            "class/thermal/thermal_zone10/temp": "42000\n",  # has no type
        },
    )
    (zones / "class/thermal/thermal_zone4/temp").mkdir(parents=True)  # reading it is an error
    found = series(COLLECTORS["thermal"](sys=zones).collect(0.0))
    assert list(found.items()) == [
        (("hw.temperature", "thermal_zone0", "cpu-thermal"), 51.0),
        (("hw.temperature", "thermal_zone5", "battery"), 20.0),
        (("hw.temperature", "thermal_zone10", "thermal_zone10"), 42.0),
    ]


def test_a_thermal_zone_shown_again_as_a_hardware_monitor_is_reported_once(tmp_path: Path) -> None:
    tree = write_files(
        tmp_path,
        {
            "class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "class/thermal/thermal_zone0/temp": "51000\n",
            "class/hwmon/hwmon0/name": "cpu_thermal\n",
            "class/hwmon/hwmon0/temp1_input": "51000\n",
        },
    )
    assert list(series(COLLECTORS["thermal"](sys=tree).collect(0.0))) == [
        ("hw.temperature", "thermal_zone0", "cpu-thermal")
    ]


def test_a_machine_without_sensors_has_no_temperatures_and_no_error(tmp_path: Path) -> None:
    assert COLLECTORS["thermal"](sys=tmp_path).collect(0.0) == []


# Process


def test_the_watched_process(procfs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "26231"
    (folder / "fd").mkdir(parents=True)
    for number in range(5):
        (folder / "fd" / str(number)).touch()
    text = (procfs / "proc/26231/stat").read_text()
    (folder / "stat").write_text(text)
    collector = COLLECTORS["process"](proc=tmp_path, pid=26231)
    first = series(collector.collect(100.0))
    assert first["process.memory.virtual", "26231"] == 56274944
    assert first["process.memory.usage", "26231"] % 1981 == 0
    assert first["process.thread.count", "26231"] == 1
    assert first["process.unix.file_descriptor.count", "26231"] == 5
    assert ("process.cpu.utilization", "26231") not in first

    ticks = " 1677 44 "
    assert ticks in text
    (folder / "stat").write_text(text.replace(ticks, " 1687 46 "))
    share = series(collector.collect(110.0))["process.cpu.utilization", "26231"]
    assert 0 < share <= 0.012  # 12 ticks (0.12 s with the usual 100 a second) in 10 s, by the number of cores


def test_another_process_under_the_same_id_starts_anew(procfs: Path, tmp_path: Path) -> None:
    text = (procfs / "proc/26231/stat").read_text()
    (tmp_path / "26231").mkdir()
    collector = COLLECTORS["process"](proc=tmp_path, pid=26231)
    for now, started in ((0.0, "82375"), (10.0, "99999")):
        (tmp_path / "26231" / "stat").write_text(text.replace("82375", started))
        found = series(collector.collect(now))
    assert ("process.cpu.utilization", "26231") not in found


def test_a_process_that_has_ended_has_no_metrics_and_no_error(tmp_path: Path) -> None:
    assert COLLECTORS["process"](proc=tmp_path, pid=1).collect(0.0) == []
