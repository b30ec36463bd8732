"""A pump that does not exist, with five sensors whose readings can be spoilt at known times.

The flow follows from speed and pressure by the pump's curve; current and vibration follow from the power.
The demand wanders, so that one reading resembles the one before, as it does in a real plant.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SENSORS = {"speed_rpm": 1, "pressure_bar": 3, "current_a": 3, "temperature_c": 3, "vibration_mm_s": 3}
FLOW = "flow_l_min"
LIKENESS = 0.3  # autocorrelation of the demand from one reading to the next
FLOW_NOISE = 1.0  # l/min, of the flow meter in the laboratory


class Recording:
    """What the sensors of the pump read, row by row, and the true flow.

    >>> healthy = Recording(1000, seed=1)
    >>> healthy.row(0) == Recording(1000, seed=1).row(0), len(healthy.row(0))
    (True, 5)
    """

    def __init__(self, rows: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        demand = _wander(rng, rows)
        speed = 1450 + 60 * demand + 15 * rng.normal(size=rows)
        pressure = 4.0 * (speed / 1450) ** 2 - 0.35 * demand + 0.22 * rng.normal(size=rows)
        self.flow = 60 * np.sqrt(np.maximum(6.0 * (speed / 1450) ** 2 - pressure, 0.05) / 2)
        power = pressure * self.flow / 100
        self.sensors: dict[str, Floats] = {
            "speed_rpm": speed,
            "pressure_bar": pressure,
            "current_a": 3.0 + 2.2 * power + 0.25 * rng.normal(size=rows),
            "temperature_c": 41.0 + 1.5 * power + 0.9 * rng.normal(size=rows),
            "vibration_mm_s": 1.2 + 0.3 * power + 0.2 * rng.gamma(2.0, size=rows),
        }
        for name, digits in SENSORS.items():
            self.sensors[name] = np.round(self.sensors[name], digits)
        self.flow += FLOW_NOISE * rng.normal(size=rows)

    def row(self, index: int) -> dict[str, float]:
        """What the sensors read at one moment."""
        return {name: float(column[index]) for name, column in self.sensors.items()}

    def stick(self, sensor: str, first: int, last: int) -> None:
        """The sensor repeats its reading of row `first` up to before row `last`."""
        self.sensors[sensor][first:last] = self.sensors[sensor][first]

    def shift(self, sensor: str, first: int, by: float) -> None:
        """The sensor reads `by` too much from row `first` on."""
        column = self.sensors[sensor]
        column[first:] = np.round(column[first:] + by, SENSORS[sensor])

    def matrix(self) -> Floats:
        """The readings as an array (rows, sensors)."""
        return np.column_stack([self.sensors[name] for name in SENSORS])


def _wander(rng: np.random.Generator, rows: int) -> Floats:
    """A first-order autoregression with variance 1."""
    steps = rng.normal(size=rows)
    demand = np.empty(rows)
    demand[0] = steps[0]
    for row in range(1, rows):
        demand[row] = LIKENESS * demand[row - 1] + np.sqrt(1 - LIKENESS**2) * steps[row]
    return demand


def as_matrix_row(reading: Mapping[str, float]) -> Floats:
    """One reading as a vector, in the order of the sensors."""
    return np.array([reading[name] for name in SENSORS])
