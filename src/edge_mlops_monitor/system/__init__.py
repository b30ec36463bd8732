"""System metrics: what the device and the watched process are doing, under OpenTelemetry names.

`SystemSampler` runs one collector for each part of the machine; `docs/system-metrics.md` lists what they
emit.
"""

from edge_mlops_monitor.system.collector import MAX_DEVICES, Collector, Instrument
from edge_mlops_monitor.system.sampler import COLLECTORS, SystemSampler

__all__ = ["COLLECTORS", "MAX_DEVICES", "Collector", "Instrument", "SystemSampler"]
