"""How full the file systems are that matter here: the root's, and those of the paths handed in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, NamedTuple

from edge_mlops_monitor.records import SystemMetric
from edge_mlops_monitor.system.collector import Collector, Instrument, read_text

USAGE = "system.filesystem.usage"
UTILIZATION = "system.filesystem.utilization"
_ATTRIBUTES = ("system.device", "system.filesystem.mountpoint", "system.filesystem.state")


class Mount(NamedTuple):
    """One line of the mount table."""

    device: str
    mountpoint: str


class Filesystem(Collector):
    """Space on the root file system and on those of `paths`, each reported once."""

    reads: ClassVar[tuple[str, ...]] = ("/proc/self/mountinfo", "statvfs")
    instruments: ClassVar[Mapping[str, Instrument]] = {
        USAGE: Instrument(
            "By", "updowncounter", "Space by state: used, free, reserved (for root)", _ATTRIBUTES
        ),
        UTILIZATION: Instrument(
            "1", "gauge", "Share of the space open to programs that is used", _ATTRIBUTES
        ),
    }

    def collect(self, now: float) -> list[SystemMetric]:
        mounts = parse_mountinfo(read_text(self.proc / "self" / "mountinfo"))
        return list(space_of((*self.paths, "/"), mounts, self))


def space_of(paths: Sequence[str], mounts: list[Mount], collector: Collector) -> Iterator[SystemMetric]:
    """The metrics of the file systems that `paths` lie on."""
    watched = {mount_of(path, mounts): path for path in paths}
    for mount, path in list(watched.items())[: collector.max_devices]:
        yield from _space(collector, mount, path)


def _space(collector: Collector, mount: Mount, path: str) -> Iterator[SystemMetric]:
    path = os.path.realpath(path)
    while not os.path.exists(path):  # a database that is still to be created
        path = os.path.dirname(path)
    space = os.statvfs(path)
    used = (space.f_blocks - space.f_bfree) * space.f_frsize
    free = space.f_bavail * space.f_frsize
    reserved = max(space.f_bfree - space.f_bavail, 0) * space.f_frsize
    if used + free == 0:  # a file system without blocks of its own
        return
    where = {"system.device": mount.device, "system.filesystem.mountpoint": mount.mountpoint}
    for state, size in (("used", used), ("free", free), ("reserved", reserved)):
        yield collector.metric(USAGE, size, {**where, "system.filesystem.state": state})
    yield collector.metric(UTILIZATION, used / (used + free), {**where, "system.filesystem.state": "used"})


def parse_mountinfo(text: str) -> list[Mount]:
    """The mounts of /proc/<pid>/mountinfo; a later one on the same point hides the earlier.

    >>> parse_mountinfo("21 0 8:1 / /my\\\\040disk rw shared:1 - ext4 /dev/sda1 rw")
    [Mount(device='/dev/sda1', mountpoint='/my disk')]
    """
    mounts = {}
    for line in text.splitlines():
        fields, separator, tail = line.partition(" - ")
        if separator:
            mountpoint = _unescape(fields.split()[4])
            mounts[mountpoint] = Mount(_unescape(tail.split()[1]), mountpoint)
    return list(mounts.values())


def mount_of(path: str, mounts: list[Mount]) -> Mount:
    """The mount that `path` lies on: the longest mount point that is one of its parents.

    >>> mount_of("/data/db", [Mount("a", "/"), Mount("b", "/data"), Mount("c", "/dat")]).device
    'b'
    """
    real = os.path.realpath(path)
    above = [mount for mount in mounts if _holds(mount.mountpoint, real)]
    return max(above, key=lambda mount: len(mount.mountpoint), default=Mount("", "/"))


def _holds(mountpoint: str, path: str) -> bool:
    return path == mountpoint or path.startswith(mountpoint.rstrip("/") + "/")


def _unescape(field: str) -> str:
    # The kernel writes blanks and backslashes in octal.
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
