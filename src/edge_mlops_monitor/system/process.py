"""The process being monitored: CPU, memory, threads, open files, from /proc/<pid>."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from edge_mlops_monitor.records import SystemMetric
from edge_mlops_monitor.system.collector import Collector, Instrument, read_text

CPU = "process.cpu.utilization"
MEMORY = "process.memory.usage"
VIRTUAL = "process.memory.virtual"
THREADS = "process.thread.count"
FILES = "process.unix.file_descriptor.count"
_PID = ("process.pid",)


class ProcessStat(NamedTuple):
    """What /proc/<pid>/stat says; `started` tells a process from a later one with the same id."""

    pid: int
    cpu_ticks: int
    threads: int
    started: int
    virtual_bytes: int
    resident_pages: int


class Process(Collector):
    """The watched process, this one unless `pid` names another; nothing once it has ended."""

    reads: ClassVar[tuple[str, ...]] = ("/proc/self/stat", "/proc/self/fd")
    instruments: ClassVar[Mapping[str, Instrument]] = {
        CPU: Instrument("1", "gauge", "CPU time since the last sample by elapsed time and cores", _PID),
        MEMORY: Instrument("By", "updowncounter", "Resident memory", _PID),
        VIRTUAL: Instrument("By", "updowncounter", "Address space", _PID),
        THREADS: Instrument("{thread}", "updowncounter", "Threads", _PID),
        FILES: Instrument("{file_descriptor}", "updowncounter", "Open file descriptors", _PID),
    }

    _last: tuple[ProcessStat, float] | None = None

    def collect(self, now: float) -> list[SystemMetric]:
        folder = self.proc / ("self" if self.pid is None else str(self.pid))
        try:
            stat = parse_process_stat(read_text(folder / "stat"))
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            self._last = None
            return []
        last, self._last = self._last, (stat, now)
        pid = {"process.pid": str(stat.pid)}
        metrics = [
            self.metric(MEMORY, stat.resident_pages * os.sysconf("SC_PAGE_SIZE"), pid),
            self.metric(VIRTUAL, stat.virtual_bytes, pid),
            self.metric(THREADS, stat.threads, pid),
        ]
        busy = _utilization(last, stat, now)
        if busy is not None:
            metrics.insert(0, self.metric(CPU, busy, pid))
        try:
            metrics.append(self.metric(FILES, len(os.listdir(folder / "fd")), pid))
        except OSError:  # another user's process does not show its files
            pass
        return metrics


def parse_process_stat(text: str) -> ProcessStat:
    """The fields of /proc/<pid>/stat; the name in brackets may hold blanks and brackets itself.

    >>> parse_process_stat("7 (my (app)) S 1 7 7 0 -1 4194560 0 0 0 0 30 12 0 0 20 0 4 0 99 4096 2 18446744")
    ProcessStat(pid=7, cpu_ticks=42, threads=4, started=99, virtual_bytes=4096, resident_pages=2)
    """
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    return ProcessStat(
        pid=int(head.split()[0]),
        cpu_ticks=int(fields[11]) + int(fields[12]),
        threads=int(fields[17]),
        started=int(fields[19]),
        virtual_bytes=int(fields[20]),
        resident_pages=int(fields[21]),
    )


def _utilization(last: tuple[ProcessStat, float] | None, stat: ProcessStat, now: float) -> float | None:
    if last is None or (last[0].pid, last[0].started) != (stat.pid, stat.started) or now <= last[1]:
        return None
    seconds = (stat.cpu_ticks - last[0].cpu_ticks) / os.sysconf("SC_CLK_TCK")
    return min(max(seconds / (now - last[1]) / available_cpus(stat.pid), 0.0), 1.0)


def available_cpus(pid: int) -> int:
    """How many CPUs the process may run on."""
    try:
        return len(os.sched_getaffinity(pid))
    except (AttributeError, OSError):  # macOS; a process of a captured tree
        return os.cpu_count() or 1
