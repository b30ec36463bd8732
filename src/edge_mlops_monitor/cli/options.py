"""The options that several commands share, and the config that they lead to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from edge_mlops_monitor.config import Config
    from edge_mlops_monitor.store import Store

    MomentType = click.ParamType[float]
else:
    MomentType = click.ParamType  # which takes no parameter in click before 8.4

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


class Within(click.FloatRange):
    """A number in a range; NaN is in none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        found = float(super().convert(value, param, ctx))
        if found != found:
            self.fail(f"{found} is no number", param, ctx)
        return found


class Moment(MomentType):
    """A point in time: `2026-05-01`, `2026-05-01T12:00:00Z`, Unix seconds, or `90m` (ago)."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Unix seconds."""
        import time

        from edge_mlops_monitor.moments import as_moment

        try:
            moment = as_moment(value, time.time())
        except (ValueError, OverflowError, OSError) as error:
            self.fail(str(error) if "write" in str(error) else f"{value!r} is no time", param, ctx)
        assert moment is not None  # only None is none
        return moment


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
