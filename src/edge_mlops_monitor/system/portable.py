"""The same metrics through psutil, for systems without /proc (macOS, for development)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

import psutil

from edge_mlops_monitor.records import SystemMetric
from edge_mlops_monitor.system import cpu, disk_io, filesystem, load, memory, network, process, uptime
from edge_mlops_monitor.system.collector import Collector, Instrument

_COLLECTORS: tuple[type[Collector], ...] = (
    cpu.Cpu,
    load.Load,
    memory.Memory,
    filesystem.Filesystem,
    disk_io.DiskIo,
    network.Network,
    uptime.Uptime,
    process.Process,
)


class Portable(Collector):
    """What psutil knows on any system, under the names of the collectors that read /proc."""

    reads: ClassVar[tuple[str, ...]] = ("psutil",)
    instruments: ClassVar[Mapping[str, Instrument]] = {
        name: instrument for collector in _COLLECTORS for name, instrument in collector.instruments.items()
    }

    _times: dict[str, cpu.CpuTimes] | None = None
    _watched: tuple[float, float] | None = None  # CPU seconds, when

    def collect(self, now: float) -> list[SystemMetric]:
        parts: tuple[Iterable[SystemMetric], ...] = (
            self._cpu(),
            self._memory(),
            self._space(),
            self._disks(),
            self._interfaces(),
            self._process(now),
        )
        return [metric for part in parts for metric in part]

    def _cpu(self) -> Iterator[SystemMetric]:
        readings = {cpu.OVERALL: psutil.cpu_times()}
        readings |= {f"cpu{number}": times for number, times in enumerate(psutil.cpu_times(percpu=True))}
        # In milliseconds; only shares of the whole matter.
        times = {
            name: cpu.CpuTimes(round(1e3 * sum(reading)), round(1e3 * reading.idle))
            for name, reading in readings.items()
        }
        last, self._times = self._times or {}, times
        yield from cpu.busy_shares(self, last, times)
        for name, average in zip(load.Load.instruments, psutil.getloadavg(), strict=True):
            yield self.metric(name, average)
        yield self.metric(uptime.UPTIME, time.time() - psutil.boot_time())

    def _memory(self) -> Iterator[SystemMetric]:
        main, swap = psutil.virtual_memory(), psutil.swap_memory()
        used = main.total - main.available
        yield self.metric(memory.USAGE, used, {"system.memory.state": "used"})
        yield self.metric(memory.USAGE, main.available, {"system.memory.state": "free"})
        yield self.metric(memory.UTILIZATION, used / main.total, {"system.memory.state": "used"})
        yield from memory.swap(self, swap.total, swap.free)

    def _space(self) -> Iterator[SystemMetric]:
        mounts = [filesystem.Mount(part.device, part.mountpoint) for part in psutil.disk_partitions()]
        return filesystem.space_of((*self.paths, "/"), mounts, self)

    def _disks(self) -> Iterator[SystemMetric]:
        disks = psutil.disk_io_counters(perdisk=True) or {}
        for device, disk in list(disks.items())[: self.max_devices]:
            counts = disk_io.DiskCounts(disk.read_count, disk.read_bytes, disk.write_count, disk.write_bytes)
            yield from disk_io.disk_counters(self, device, counts)

    def _interfaces(self) -> Iterator[SystemMetric]:
        for name, io in list(psutil.net_io_counters(pernic=True).items())[: self.max_devices]:
            if not network.is_virtual(name) and (io.bytes_recv or io.bytes_sent):
                received = network.Traffic(io.bytes_recv, io.errin, io.dropin)
                sent = network.Traffic(io.bytes_sent, io.errout, io.dropout)
                yield from network.traffic_counters(self, name, "receive", received)
                yield from network.traffic_counters(self, name, "transmit", sent)

    def _process(self, now: float) -> Iterator[SystemMetric]:
        try:
            watched = psutil.Process(self.pid)
            seconds, size = sum(watched.cpu_times()[:2]), watched.memory_info()
            threads, files = watched.num_threads(), watched.num_fds()
        except psutil.Error:  # it has ended, or belongs to another user
            self._watched = None
            return
        pid = {"process.pid": str(watched.pid)}
        last, self._watched = self._watched, (seconds, now)
        if last and now > last[1]:
            share = (seconds - last[0]) / (now - last[1]) / process.available_cpus(watched.pid)
            yield self.metric(process.CPU, min(max(share, 0.0), 1.0), pid)
        yield self.metric(process.MEMORY, size.rss, pid)
        yield self.metric(process.VIRTUAL, size.vms, pid)
        yield self.metric(process.THREADS, threads, pid)
        yield self.metric(process.FILES, files, pid)
