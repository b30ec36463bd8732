"""Bytes, errors and dropped packets of the network interfaces, from /proc/net/dev."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, NamedTuple

from edge_mlops_monitor.records import SystemMetric
from edge_mlops_monitor.system.collector import Collector, Instrument, read_text

IO = "system.network.io"
ERRORS = "system.network.errors"
DROPPED = "system.network.packet.dropped"
_ATTRIBUTES = ("network.interface.name", "network.io.direction")

# Loopback, and what containers, bridges and virtual machines add: their bytes pass a real interface too.
_VIRTUAL = (
    "veth",
    "docker",
    "br-",
    "virbr",
    "vnet",
    "ifb",
    "dummy",
    "cni",
    "flannel",
    "cali",
    "lxc",
    "podman",
)


class Traffic(NamedTuple):
    """One direction of an interface since boot."""

    byte_count: int
    errors: int
    dropped: int


class Network(Collector):
    """Counters of each interface that has carried a byte since boot, without loopback and virtual ones.

    Errors and dropped packets are emitted from the first one on: their absence means none.
    """

    reads: ClassVar[tuple[str, ...]] = ("/proc/net/dev",)
    instruments: ClassVar[Mapping[str, Instrument]] = {
        IO: Instrument("By", "counter", "Bytes since boot", _ATTRIBUTES),
        ERRORS: Instrument("{error}", "counter", "Errors since boot, once there was one", _ATTRIBUTES),
        DROPPED: Instrument(
            "{packet}", "counter", "Packets dropped since boot, once there was one", _ATTRIBUTES
        ),
    }

    def collect(self, now: float) -> list[SystemMetric]:
        interfaces = parse_net_dev(read_text(self.proc / "net" / "dev"))
        return [
            metric
            for interface, directions in list(interfaces.items())[: self.max_devices]
            for direction, traffic in directions.items()
            for metric in traffic_counters(self, interface, direction, traffic)
        ]


def traffic_counters(
    collector: Collector, interface: str, direction: str, traffic: Traffic
) -> Iterator[SystemMetric]:
    """The metrics of one direction of an interface."""
    attributes = {"network.interface.name": interface, "network.io.direction": direction}
    yield collector.metric(IO, traffic.byte_count, attributes)
    if traffic.errors:
        yield collector.metric(ERRORS, traffic.errors, attributes)
    if traffic.dropped:
        yield collector.metric(DROPPED, traffic.dropped, attributes)


def is_virtual(interface: str) -> bool:
    """Whether the interface is loopback or one of a container, bridge or virtual machine."""
    return interface in ("lo", "lo0") or interface.startswith(_VIRTUAL)


def parse_net_dev(text: str) -> dict[str, dict[str, Traffic]]:
    """The real interfaces of /proc/net/dev that have carried a byte, by direction (receive, transmit).

    >>> line = "eth0: 10 1 2 3 0 0 0 0 20 1 0 0 0 0 0 0"
    >>> parse_net_dev(line)["eth0"]["receive"]
    Traffic(byte_count=10, errors=2, dropped=3)
    """
    interfaces = {}
    for line in text.splitlines():
        name, separator, rest = line.partition(":")
        name, fields = name.strip(), rest.split()
        if not separator or len(fields) < 12 or is_virtual(name):
            continue
        receive, transmit = (_traffic(fields[at : at + 4]) for at in (0, 8))
        if receive.byte_count or transmit.byte_count:
            interfaces[name] = {"receive": receive, "transmit": transmit}
    return interfaces


def _traffic(fields: list[str]) -> Traffic:
    byte_count, _packets, errors, dropped = fields
    return Traffic(int(byte_count), int(errors), int(dropped))
