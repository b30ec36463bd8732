"""Where sealed objects go: one file for each sort of sink, and the registry of their names.

Constructor keywords are the keys of the config. A distribution adds a sink of its own under the
entry-point group `edge_mlops_monitor.sinks`.

>>> sorted(name for name in SINKS if SINKS.extra(name) is None)
['file', 'memory']
"""

from __future__ import annotations

from edge_mlops_monitor.registry import Registry

_HERE = "edge_mlops_monitor.telemetry.sinks"

SINKS = Registry(
    "sink",
    {
        "file": f"{_HERE}.file:FileSink",
        "memory": f"{_HERE}.memory:MemorySink",
        "s3": f"{_HERE}.object_store:S3",
    },
    extras={"s3": "s3"},
    group="edge_mlops_monitor.sinks",
)

__all__ = ["SINKS"]
