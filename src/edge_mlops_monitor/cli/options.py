"""The options that several commands share, and the config that they lead to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from edge_mlops_monitor.config import Config
    from edge_mlops_monitor.store import Store

F = TypeVar("F", bound=Callable[..., Any])

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Config file; without it the usual places are searched.",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object and nothing else on standard output."
)
exit_code_option = click.option("--exit-code", is_flag=True, help="Exit with 3 where drift is found.")


class Moment(click.ParamType[float]):
    """A point in time: `2026-05-01`, `2026-05-01T12:00Z`, Unix seconds, or `90m` ago."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Unix seconds."""
        import time

        if isinstance(value, (int, float)):
            return float(value)
        try:
            return moment(value, time.time())
        except ValueError as error:
            self.fail(str(error), param, ctx)


UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def moment(text: str, now: float) -> float:
    """Unix seconds that `text` means; raises ValueError with the ways to write it.

    >>> moment("1h", now=10_000.0)
    6400.0
    >>> moment("1970-01-02T00:00Z", now=0.0)
    86400.0
    """
    text = text.strip()
    try:
        if text[-1:] in UNITS and text[:-1]:
            return now - _number(text[:-1]) * UNITS[text[-1]]
        if text.replace(".", "", 1).isdigit() and len(text) != 8:
            return _number(text)
        # Python 3.10 does not know the Z of ISO 8601; a time without zone is local time.
        return datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"'{text}' is no point in time; write 2026-05-01, 2026-05-01T12:00Z, Unix seconds, "
            "or how long ago: 90m, 12h, 30d"
        ) from None


def _number(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1e12:
        raise ValueError
    return value


def load(config_path: Path | None) -> Config:
    """The config that the command works with: the option's, the group's, else the one that is found."""
    from edge_mlops_monitor.config import load_config

    return load_config(where(config_path))


def where(config_path: Path | None) -> Path | None:
    """The config file that counts, or None for the defaults."""
    from edge_mlops_monitor.config import find_config

    context = click.get_current_context(silent=True)
    group_option = context.find_root().obj if context is not None else None
    return config_path or group_option or find_config()


def open_store(config: Config) -> Store:
    """The database of this config, to be read; StoreError where there is none, never a new one."""
    from edge_mlops_monitor.store import Store

    return Store(config.storage.sqlite_path, create=False)
