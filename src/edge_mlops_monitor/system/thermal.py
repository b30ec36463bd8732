"""Temperatures of the kernel's thermal zones and hardware monitors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from edge_mlops_monitor.records import SystemMetric
from edge_mlops_monitor.system.collector import Collector, Instrument, read_text

TEMPERATURE = "hw.temperature"
PLAUSIBLE = (
    -100.0,
    300.0,
)  # Celsius; sensors that are not connected report -273, 255 and the like in millions


class Thermal(Collector):
    """Every temperature sensor under /sys/class/thermal and /sys/class/hwmon that can be read.

    A sensor that is switched off, unreadable or implausible is left out until it answers again. The kernel
    shows many thermal zones a second time as a hardware monitor of the same name; those are reported once.
    """

    reads: ClassVar[tuple[str, ...]] = ("/sys/class/thermal", "/sys/class/hwmon")
    instruments: ClassVar[Mapping[str, Instrument]] = {
        TEMPERATURE: Instrument("Cel", "gauge", "Temperature of a sensor", ("hw.id", "hw.name")),
    }

    def collect(self, now: float) -> list[SystemMetric]:
        zones = list(self._zones())
        seen = {_hwmon_spelling(name) for _, name, _ in zones}
        monitors = [sensor for sensor in self._monitors() if _chip(sensor) not in seen]
        metrics = []
        for identity, name, path in (zones + monitors)[: self.max_devices]:
            celsius = _temperature(path)
            if celsius is not None:
                metrics.append(self.metric(TEMPERATURE, celsius, {"hw.id": identity, "hw.name": name}))
        return metrics

    def _zones(self) -> Iterator[tuple[str, str, Path]]:
        for zone in _numbered(self.sys / "class/thermal", "thermal_zone*"):
            yield zone.name, _line(zone / "type") or zone.name, zone / "temp"

    def _monitors(self) -> Iterator[tuple[str, str, Path]]:
        for monitor in _numbered(self.sys / "class/hwmon", "hwmon*"):
            chip = _line(monitor / "name") or monitor.name
            for path in _numbered(monitor, "temp*_input"):
                sensor = path.name.removesuffix("_input")
                label = _line(monitor / f"{sensor}_label") or sensor
                yield f"{monitor.name}/{sensor}", f"{chip} {label}", path


def _numbered(folder: Path, pattern: str) -> list[Path]:
    """The matches in the order of their numbers: zone 2 before zone 10."""
    return sorted(folder.glob(pattern), key=lambda path: (len(path.name), path.name))


def _hwmon_spelling(zone: str) -> str:
    return zone.replace("-", "_")  # hwmon names must not hold a hyphen


def _chip(sensor: tuple[str, str, Path]) -> str:
    return sensor[1].partition(" ")[0]


def _line(path: Path) -> str | None:
    try:
        return read_text(path).strip()
    except OSError:
        return None


def _temperature(path: Path) -> float | None:
    text = _line(path)  # reading a sensor that is switched off or broken fails with an error of its own
    try:
        celsius = int(text or "") / 1000
    except ValueError:
        return None
    return celsius if PLAUSIBLE[0] <= celsius <= PLAUSIBLE[1] else None
