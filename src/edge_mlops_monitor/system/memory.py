"""Memory and swap, from /proc/meminfo."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from edge_mlops_monitor.records import SystemMetric
from edge_mlops_monitor.system.collector import Collector, Instrument, read_text

USAGE = "system.memory.usage"
UTILIZATION = "system.memory.utilization"
AVAILABLE = "system.linux.memory.available"
SWAP_USAGE = "system.paging.usage"
SWAP_UTILIZATION = "system.paging.utilization"


class Memory(Collector):
    """Where the memory is, and the swap where there is any.

    The four states of `system.memory.usage` add up to the memory there is, as OpenTelemetry asks;
    reclaimable kernel memory counts as cached.
    """

    reads: ClassVar[tuple[str, ...]] = ("/proc/meminfo",)
    instruments: ClassVar[Mapping[str, Instrument]] = {
        USAGE: Instrument(
            "By", "updowncounter", "Memory by state: used, free, buffers, cached", ("system.memory.state",)
        ),
        UTILIZATION: Instrument("1", "gauge", "Share of the memory that is used", ("system.memory.state",)),
        AVAILABLE: Instrument("By", "updowncounter", "Memory that programs can still get without swapping"),
        SWAP_USAGE: Instrument("By", "updowncounter", "Swap by state: used, free", ("system.paging.state",)),
        SWAP_UTILIZATION: Instrument(
            "1", "gauge", "Share of the swap that is used", ("system.paging.state",)
        ),
    }

    def collect(self, now: float) -> list[SystemMetric]:
        info = parse_meminfo(read_text(self.proc / "meminfo"))
        swaps = swap(self, info.get("SwapTotal", 0), info.get("SwapFree", 0))
        return [*self._memory(info), *swaps]

    def _memory(self, info: dict[str, int]) -> list[SystemMetric]:
        free, buffers = info["MemFree"], info.get("Buffers", 0)
        cached = info.get("Cached", 0) + info.get("SReclaimable", 0)
        used = max(info["MemTotal"] - free - buffers - cached, 0)
        states = {"used": used, "free": free, "buffers": buffers, "cached": cached}
        metrics = [self.metric(USAGE, size, {"system.memory.state": state}) for state, size in states.items()]
        metrics.append(self.metric(UTILIZATION, used / info["MemTotal"], {"system.memory.state": "used"}))
        if "MemAvailable" in info:  # since Linux 3.14
            metrics.append(self.metric(AVAILABLE, info["MemAvailable"]))
        return metrics


def swap(collector: Collector, total: int, free: int) -> Iterator[SystemMetric]:
    """The metrics of the swap, where there is any."""
    if total:
        used = max(total - free, 0)
        yield collector.metric(SWAP_USAGE, used, {"system.paging.state": "used"})
        yield collector.metric(SWAP_USAGE, total - used, {"system.paging.state": "free"})
        yield collector.metric(SWAP_UTILIZATION, used / total, {"system.paging.state": "used"})


def parse_meminfo(text: str) -> dict[str, int]:
    """The fields of /proc/meminfo in bytes.

    >>> parse_meminfo("MemTotal:  2 kB\\nHugePages_Total: 3")
    {'MemTotal': 2048, 'HugePages_Total': 3}
    """
    info = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        fields = rest.split()
        if fields:
            info[name] = int(fields[0]) * (1024 if fields[1:] == ["kB"] else 1)
    return info
