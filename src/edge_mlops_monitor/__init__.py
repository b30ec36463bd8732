"""Edge MLOps Monitor: watches machine-learning models on the device where they run.

>>> import edge_mlops_monitor
>>> edge_mlops_monitor.__version__.count(".")
2
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"
__all__ = ["EdgeMonitor", "__version__", "load_config", "save_default_config"]

if TYPE_CHECKING:
    from edge_mlops_monitor.config import load_config, save_default_config
    from edge_mlops_monitor.monitor import EdgeMonitor

_HOMES = {"EdgeMonitor": "monitor", "load_config": "config", "save_default_config": "config"}


def __getattr__(name: str) -> Any:
    """Import the public names when they are asked for, so that a part can be used without the rest."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
