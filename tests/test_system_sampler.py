"""The sampler: collectors isolated from each other, and what they emit against what they declare."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_mlops_monitor.clock import ManualClock
from edge_mlops_monitor.errors import UnknownNameError
from edge_mlops_monitor.records import SystemMetric
from edge_mlops_monitor.system import COLLECTORS, Instrument, SystemSampler

PORTABLE = "portable"
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the live /proc")


@linux
def test_a_sample_of_this_machine_holds_every_metric_that_any_machine_has() -> None:
    clock = ManualClock(time=1_700_000_000.0)
    sampler = SystemSampler(clock=clock)
    sampler.sample()
    sum(range(300_000))  # so that CPU time has passed
    clock.advance(10.0)
    names = {metric.name for metric in sampler.sample()}
    assert not sampler.failures
    assert names >= {
        "system.cpu.load_average.1m",
        "system.memory.usage",
        "system.memory.utilization",
        "system.filesystem.usage",
        "system.filesystem.utilization",
        "system.uptime",
        "process.cpu.utilization",
        "process.memory.usage",
        "process.thread.count",
        "process.unix.file_descriptor.count",
    }


@linux
def test_metrics_carry_the_wall_clocks_time() -> None:
    clock = ManualClock(time=1_700_000_000.0)
    assert {metric.ts for metric in SystemSampler(["load"], clock=clock).sample()} == {1_700_000_000.0}


@linux
@pytest.mark.parametrize("name", [*COLLECTORS])
def test_what_a_collector_emits_it_declares(name: str) -> None:
    if name == PORTABLE:
        pytest.importorskip("psutil")
    sampler = SystemSampler([name])
    instruments: dict[str, Instrument] = COLLECTORS[name].instruments
    assert instruments
    for metric in sampler.sample() + sampler.sample():
        assert metric.unit == instruments[metric.name].unit
        assert set(metric.attributes) <= set(instruments[metric.name].attributes)
        if metric.unit == "1":
            assert 0.0 <= metric.value <= 1.0
    assert not sampler.failures


def test_a_collector_that_fails_is_counted_and_said_once_while_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "uptime").write_text("5.0 1.0\n")
    (tmp_path / "stat").write_text("nonsense\n")
    sampler = SystemSampler(["cpu", "load", "uptime"], proc=tmp_path, sys=tmp_path)
    with caplog.at_level(logging.WARNING, "edge_mlops_monitor"):
        for _ in range(3):
            assert [metric.value for metric in sampler.sample()] == [5.0]
    assert sampler.failures == {"cpu": 3, "load": 3}
    assert "no line of CPU times" in sampler.last_errors["cpu"]
    assert len(caplog.records) == 2


def test_a_collector_recovers_when_its_source_is_readable_again(tmp_path: Path) -> None:
    sampler = SystemSampler(["uptime"], proc=tmp_path)
    assert sampler.sample() == []
    (tmp_path / "uptime").write_text("5.0 1.0\n")
    assert [metric.value for metric in sampler.sample()] == [5.0]


def test_an_unknown_collector_is_named_with_those_that_exist() -> None:
    with pytest.raises(UnknownNameError, match="unknown collector 'cpus'; did you mean 'cpu'"):
        SystemSampler(["cpus"])


def test_without_proc_the_portable_collector_is_used(tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    sampler = SystemSampler(proc=tmp_path / "absent")
    assert sampler.names == [PORTABLE]
    found = {(m.name, *m.attributes.values()): m.value for m in sampler.sample()}
    assert not sampler.failures
    used, free = (found["system.memory.usage", state] for state in ("used", "free"))
    assert used + free == psutil.virtual_memory().total
    assert found["process.thread.count", str(os.getpid())] >= 1


@linux
def test_the_figures_agree_with_those_of_psutil() -> None:
    psutil = pytest.importorskip("psutil")
    watched = psutil.Process()
    threads = watched.num_threads()  # those of tests before this one may be about to end
    metrics = SystemSampler().sample()
    found = {(m.name, *m.attributes.values()): m.value for m in metrics}
    pid = str(os.getpid())
    states = ("used", "free", "buffers", "cached")
    assert sum(found["system.memory.usage", state] for state in states) == psutil.virtual_memory().total
    assert watched.num_threads() <= found["process.thread.count", pid] <= threads
    assert found["process.memory.usage", pid] == pytest.approx(watched.memory_info().rss, rel=0.1)
    received = {
        m.attributes["network.interface.name"]: m.value
        for m in metrics
        if m.name == "system.network.io" and m.attributes["network.io.direction"] == "receive"
    }
    for interface, count in received.items():
        assert count <= psutil.net_io_counters(pernic=True)[interface].bytes_recv


@linux
def test_a_forked_child_reports_itself_and_not_its_parent() -> None:
    program = (
        "import os\n"
        "from edge_mlops_monitor.system import SystemSampler\n"
        "sampler = SystemSampler(['process'])\n"
        "sampler.sample()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    found = sampler.sample()\n"
        "    ok = {m.attributes['process.pid'] for m in found} == {str(os.getpid())}\n"
        "    os._exit(0 if ok and 'process.cpu.utilization' not in {m.name for m in found} else 1)\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", program], timeout=60).returncode == 0


OPENED = """
import sys
from edge_mlops_monitor.system import COLLECTORS
collector = COLLECTORS[sys.argv[1]](proc=sys.argv[2] + "/proc", sys=sys.argv[2] + "/sys")
seen = set()
watched = ("open", "os.listdir", "os.scandir")
sys.addaudithook(lambda event, given: seen.add(str(given[0])) if event in watched else None)
collector.collect(0.0)
collector.collect(1.0)
print(*(path[len(sys.argv[2]):] for path in seen if path.startswith(sys.argv[2])), sep="\\n")
"""


@linux
@pytest.mark.parametrize("name", [name for name in COLLECTORS if name != PORTABLE])
def test_a_collector_opens_what_it_says_it_reads_and_nothing_else(name: str, tmp_path: Path) -> None:
    (tmp_path / "proc").symlink_to("/proc")
    (tmp_path / "sys").symlink_to("/sys")
    command = [sys.executable, "-c", OPENED, name, str(tmp_path)]
    opened = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split()
    said = [path for path in COLLECTORS[name].reads if path.startswith("/")]
    assert said
    assert [path for path in opened if not path.startswith(tuple(said))] == []
    there = [path for path in said if os.path.exists(path)]
    assert [path for path in there if not any(other.startswith(path) for other in opened)] == []


def test_a_metric_has_a_name_of_its_own_for_each_series() -> None:
    metrics: list[SystemMetric] = SystemSampler().sample()
    keys = [(metric.name, tuple(metric.attributes.items())) for metric in metrics]
    assert len(keys) == len(set(keys)) > 0
