"""Runs the collectors, each on its own: one that fails is counted and said once, the others go on."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from edge_mlops_monitor.clock import Clock
from edge_mlops_monitor.errors import UnknownNameError
from edge_mlops_monitor.records import SystemMetric
from edge_mlops_monitor.registry import Registry
from edge_mlops_monitor.system.collector import Collector

logger = logging.getLogger("edge_mlops_monitor")

_HOME = "edge_mlops_monitor.system"
PORTABLE = "portable"

COLLECTORS = Registry(
    "collector",
    {
        "cpu": f"{_HOME}.cpu:Cpu",
        "load": f"{_HOME}.load:Load",
        "memory": f"{_HOME}.memory:Memory",
        "filesystem": f"{_HOME}.filesystem:Filesystem",
        "disk_io": f"{_HOME}.disk_io:DiskIo",
        "network": f"{_HOME}.network:Network",
        "thermal": f"{_HOME}.thermal:Thermal",
        "uptime": f"{_HOME}.uptime:Uptime",
        "process": f"{_HOME}.process:Process",
        PORTABLE: f"{_HOME}.portable:Portable",
    },
    group="edge_mlops_monitor.collectors",
)


class SystemSampler:
    """One sample of the whole machine at a time.

    `names` chooses from `COLLECTORS` (default: all that read /proc and /sys, or "portable" where there is no
    /proc). `pid` is the process to watch (None: this one), `paths` lie on file systems to watch beside the
    root's, such as the database's. Shares of time need two samples, so the first one lacks them.

    An unknown name raises `UnknownNameError`. Nothing else does: `failures` counts by collector what went
    wrong, `last_errors` says how.

    >>> sampler = SystemSampler(["uptime"])
    >>> [metric.name for metric in sampler.sample()]
    ['system.uptime']
    """

    def __init__(
        self,
        names: Sequence[str] | None = None,
        *,
        clock: Clock | None = None,
        proc: str | os.PathLike[str] = "/proc",
        sys: str | os.PathLike[str] = "/sys",
        pid: int | None = None,
        paths: Sequence[str] = (),
    ) -> None:
        self.clock = clock or Clock()
        self.failures: dict[str, int] = {}
        self.last_errors: dict[str, str] = {}
        self._collectors: dict[str, Collector] = {}
        for name in _default_names(proc) if names is None else names:
            try:
                collector = COLLECTORS[name](proc=proc, sys=sys, pid=pid, paths=paths)
            except UnknownNameError:
                raise
            except Exception as error:  # a third party's collector that cannot be imported or built
                self._failed(name, error)
                continue
            self._collectors[name] = collector

    @property
    def names(self) -> list[str]:
        """The collectors at work."""
        return list(self._collectors)

    def sample(self) -> list[SystemMetric]:
        """What every collector has to say now, stamped with the wall clock's time."""
        now, ts = self.clock.monotonic(), self.clock.time()
        return [
            replace(metric, ts=ts)
            for name, collector in self._collectors.items()
            for metric in self._collect(name, collector, now)
        ]

    def _collect(self, name: str, collector: Collector, now: float) -> Iterable[SystemMetric]:
        try:
            return list(collector.collect(now))
        except Exception as error:
            self._failed(name, error)
            return ()

    def _failed(self, name: str, error: Exception) -> None:
        self.failures[name] = self.failures.get(name, 0) + 1
        text = f"{type(error).__name__}: {error}"
        if self.last_errors.get(name) != text:
            logger.warning("the system collector '%s' failed: %s (the others go on)", name, text)
        self.last_errors[name] = text


def _default_names(proc: str | os.PathLike[str]) -> list[str]:
    if not os.path.exists(os.path.join(proc, "stat")):  # macOS
        return [PORTABLE]
    return [name for name in COLLECTORS if name != PORTABLE]
