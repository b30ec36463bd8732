"""Bytes and operations of whole disks, from /proc/diskstats."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import ClassVar, NamedTuple

from edge_mlops_monitor.records import SystemMetric
from edge_mlops_monitor.system.collector import Collector, Instrument, read_text

IO = "system.disk.io"
OPERATIONS = "system.disk.operations"
SECTOR = 512  # the unit of /proc/diskstats, whatever the disk's own sector size

# Whole disks only: partitions, device mapper and loop devices would count the same bytes again.
_DISK = re.compile(r"(?:[shv]d[a-z]+|xvd[a-z]+|nvme\d+n\d+|mmcblk\d+|mtdblock\d+)")


class DiskCounts(NamedTuple):
    """What one disk did since boot."""

    reads: int
    read_bytes: int
    writes: int
    written_bytes: int


class DiskIo(Collector):
    """Bytes and operations of each disk since boot; disks that were never used are left out."""

    reads: ClassVar[tuple[str, ...]] = ("/proc/diskstats",)
    instruments: ClassVar[Mapping[str, Instrument]] = {
        IO: Instrument("By", "counter", "Bytes since boot", ("system.device", "disk.io.direction")),
        OPERATIONS: Instrument(
            "{operation}", "counter", "Operations since boot", ("system.device", "disk.io.direction")
        ),
    }

    def collect(self, now: float) -> list[SystemMetric]:
        disks = parse_diskstats(read_text(self.proc / "diskstats"))
        return [
            metric
            for device, counts in list(disks.items())[: self.max_devices]
            for metric in disk_counters(self, device, counts)
        ]


def disk_counters(collector: Collector, device: str, counts: DiskCounts) -> Iterator[SystemMetric]:
    """The metrics of one disk."""
    read, write = ({"system.device": device, "disk.io.direction": way} for way in ("read", "write"))
    yield collector.metric(IO, counts.read_bytes, read)
    yield collector.metric(IO, counts.written_bytes, write)
    yield collector.metric(OPERATIONS, counts.reads, read)
    yield collector.metric(OPERATIONS, counts.writes, write)


def parse_diskstats(text: str) -> dict[str, DiskCounts]:
    """The counters of each whole disk that was ever used.

    >>> parse_diskstats("8 0 sda 3 0 8 1 2 0 4 1 0 1 1\\n8 1 sda1 3 0 8 1 2 0 4 1 0 1 1")
    {'sda': DiskCounts(reads=3, read_bytes=4096, writes=2, written_bytes=2048)}
    """
    disks = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 10 and _DISK.fullmatch(fields[2]):
            reads, sectors_read, writes, sectors_written = (int(fields[index]) for index in (3, 5, 7, 9))
            if reads or writes:
                disks[fields[2]] = DiskCounts(reads, sectors_read * SECTOR, writes, sectors_written * SECTOR)
    return disks
