"""How long the machine has been up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from edge_mlops_monitor.records import SystemMetric
from edge_mlops_monitor.system.collector import Collector, Instrument, read_text

UPTIME = "system.uptime"


class Uptime(Collector):
    """Seconds since boot, from /proc/uptime."""

    reads: ClassVar[tuple[str, ...]] = ("/proc/uptime",)
    instruments: ClassVar[Mapping[str, Instrument]] = {
        UPTIME: Instrument("s", "gauge", "Time since boot, suspended time included")
    }

    def collect(self, now: float) -> list[SystemMetric]:
        return [self.metric(UPTIME, float(read_text(self.proc / "uptime").split()[0]))]
