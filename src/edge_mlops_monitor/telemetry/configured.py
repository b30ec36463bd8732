"""The sinks of a config: checked when the monitor is made, made anew where they are used."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from edge_mlops_monitor.config import Config
from edge_mlops_monitor.errors import ConfigError, EdgeMonitorError


def sink_makers(config: Config) -> dict[str, Callable[[], Any]]:
    """What makes each configured sink; raises ConfigError for unknown types, extras and keywords."""
    makers: dict[str, Callable[[], Any]] = {}
    mistakes = []
    for name, keywords in config.effective_sinks().items():
        from edge_mlops_monitor.telemetry.sinks import SINKS

        options = {key: value for key, value in keywords.items() if key != "type"}
        try:
            makers[name] = partial(SINKS[keywords["type"]], **options)
            makers[name]().close()
        except (EdgeMonitorError, TypeError, ValueError) as error:
            mistakes.append(f"sinks.{name}: {error}")
    if mistakes:
        raise ConfigError(mistakes)
    return makers
