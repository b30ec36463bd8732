"""What every collector is: a class that reads one part of the machine and names what it read.

A collector declares its instruments, takes the world as arguments (`proc`, `sys`) so that it runs on captured
trees, and emits nothing for what the machine does not have. It may raise: the sampler keeps the others going.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from edge_mlops_monitor.records import SystemMetric

MAX_DEVICES = 16  # disks, interfaces, sensors a collector reports: a host of containers has hundreds


class Instrument(NamedTuple):
    """One metric as OpenTelemetry describes it: unit (UCUM), kind, the attributes that tell series apart."""

    unit: str
    kind: str  # gauge | counter (since boot) | updowncounter (values that add up)
    description: str
    attributes: tuple[str, ...] = ()


class Collector:
    """Reads one part of the machine; subclasses declare `reads` and `instruments` and define `collect`.

    `reads` names the files that the metrics come from, as they lie on a machine.
    `pid` is the process being monitored (None: this one), `paths` lie on the file systems to watch beside the
    root's, `max_devices` bounds how many disks, interfaces or sensors are reported.
    """

    reads: ClassVar[tuple[str, ...]] = ()
    instruments: ClassVar[Mapping[str, Instrument]] = {}

    def __init__(
        self,
        *,
        proc: str | os.PathLike[str] = "/proc",
        sys: str | os.PathLike[str] = "/sys",
        pid: int | None = None,
        paths: Sequence[str] = (),
        max_devices: int = MAX_DEVICES,
    ) -> None:
        self.proc = Path(proc)
        self.sys = Path(sys)
        self.pid = pid
        self.paths = tuple(paths)
        self.max_devices = max_devices

    def collect(self, now: float) -> list[SystemMetric]:
        """The metrics at monotonic time `now` (seconds); their `ts` is left to the sampler."""
        raise NotImplementedError

    def metric(self, name: str, value: float, attributes: dict[str, str] | None = None) -> SystemMetric:
        """A metric of one of the declared instruments."""
        return SystemMetric(
            name=name, value=float(value), unit=self.instruments[name].unit, attributes=attributes or {}
        )


def read_text(path: Path) -> str:
    """The text of a small kernel file; odd bytes (a device's vendor string) are replaced."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
