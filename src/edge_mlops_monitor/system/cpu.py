"""CPU utilization, overall and by core, from the counters of /proc/stat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, NamedTuple

from edge_mlops_monitor.records import SystemMetric
from edge_mlops_monitor.system.collector import Collector, Instrument, read_text

UTILIZATION = "system.cpu.utilization"
OVERALL = "cpu"  # the first line of /proc/stat; cores are cpu0, cpu1, ...


class CpuTimes(NamedTuple):
    """Clock ticks since boot."""

    total: int
    idle: int


class Cpu(Collector):
    """The share of time that the processors were busy, neither idle nor waiting for a disk.

    It is the share since the last sample, so the first one has none. A core that appeared, or whose counters
    went back (hot plug, a container moved), is left out until the next sample.
    """

    reads: ClassVar[tuple[str, ...]] = ("/proc/stat",)
    instruments: ClassVar[Mapping[str, Instrument]] = {
        UTILIZATION: Instrument(
            "1",
            "gauge",
            "Share of time spent busy since the last sample; without attribute, over all cores",
            ("cpu.logical_number",),
        )
    }

    _last: dict[str, CpuTimes] | None = None

    def collect(self, now: float) -> list[SystemMetric]:
        times = parse_stat(read_text(self.proc / "stat"))
        last, self._last = self._last or {}, times
        return list(busy_shares(self, last, times))


def busy_shares(
    collector: Collector, last: dict[str, CpuTimes], times: dict[str, CpuTimes]
) -> Iterator[SystemMetric]:
    """The metrics of the CPUs that are in both readings."""
    for cpu, current in times.items():
        busy = utilization(last[cpu], current) if cpu in last else None
        if busy is not None:
            attributes = {} if cpu == OVERALL else {"cpu.logical_number": cpu[3:]}
            yield collector.metric(UTILIZATION, busy, attributes)


def parse_stat(text: str) -> dict[str, CpuTimes]:
    """The lines of /proc/stat that begin with cpu.

    >>> parse_stat("cpu  10 0 5 80 5 0 0 0 2 0\\ncpu0 10 0 5 80 5 0 0 0 2 0\\nintr 1")["cpu0"]
    CpuTimes(total=100, idle=85)
    """
    times = {}
    for line in text.splitlines():
        if not line.startswith("cpu"):
            break  # the cpu lines come first, the interrupts after them are long
        cpu, *fields = line.split()
        ticks = [int(field) for field in fields[:8]]  # guest time is already part of user time
        times[cpu] = CpuTimes(sum(ticks), sum(ticks[3:5]))
    if OVERALL not in times:
        raise ValueError("no line of CPU times in the kernel's stat file")
    return times


def utilization(last: CpuTimes, current: CpuTimes) -> float | None:
    """The busy share between two readings; None where no time passed or the counters went back."""
    total = current.total - last.total
    if total <= 0:
        return None
    idle = min(max(current.idle - last.idle, 0), total)
    return 1.0 - idle / total
