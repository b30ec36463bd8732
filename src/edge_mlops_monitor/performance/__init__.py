"""Performance of a model: realised from labels, estimated without them.

>>> from edge_mlops_monitor import performance
>>> performance.realised_classification([0, 1, 1, 0], [0, 1, 0, 0])["accuracy"]["value"]
0.75
"""

from __future__ import annotations

from edge_mlops_monitor.performance.calibrating import calibration
from edge_mlops_monitor.performance.cbpe import estimate
from edge_mlops_monitor.performance.dle import estimate_error
from edge_mlops_monitor.performance.realised import realised_classification, realised_regression

__all__ = [
    "calibration",
    "estimate",
    "estimate_error",
    "realised_classification",
    "realised_regression",
]
