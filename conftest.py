"""Without an extra, the docstrings of the module that needs it are not collected."""

from importlib.util import find_spec

NEEDS = {"obstore": "src/edge_mlops_monitor/telemetry/sinks/object_store.py"}

collect_ignore = [file for package, file in NEEDS.items() if find_spec(package) is None]
