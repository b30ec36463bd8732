"""The load averages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from edge_mlops_monitor.records import SystemMetric
from edge_mlops_monitor.system.collector import Collector, Instrument, read_text

_DESCRIPTION = "Threads running or waiting to, averaged over {}"


class Load(Collector):
    """The three load averages of /proc/loadavg."""

    reads: ClassVar[tuple[str, ...]] = ("/proc/loadavg",)
    instruments: ClassVar[Mapping[str, Instrument]] = {
        "system.cpu.load_average.1m": Instrument("{thread}", "gauge", _DESCRIPTION.format("a minute")),
        "system.cpu.load_average.5m": Instrument("{thread}", "gauge", _DESCRIPTION.format("5 minutes")),
        "system.cpu.load_average.15m": Instrument("{thread}", "gauge", _DESCRIPTION.format("15 minutes")),
    }

    def collect(self, now: float) -> list[SystemMetric]:
        averages = read_text(self.proc / "loadavg").split()[:3]
        return [
            self.metric(name, float(value)) for name, value in zip(self.instruments, averages, strict=True)
        ]
