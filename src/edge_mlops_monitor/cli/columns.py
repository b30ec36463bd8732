"""The options that say which column of recorded data is what."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    NamesType = click.ParamType[list[str]]
else:
    NamesType = click.ParamType  # which takes no parameter in click before 8.4

F = TypeVar("F", bound=Callable[..., Any])


class Names(NamesType):
    """Column names with commas between them; a name that holds a comma is given by an option of its own."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """The names."""
        return (
            value if isinstance(value, list) else [name.strip() for name in value.split(",") if name.strip()]
        )


OPTIONS = [
    click.option(
        "--inputs", type=Names(), multiple=True, metavar="A,B", help="Columns that are inputs of the model."
    ),
    click.option("--outputs", type=Names(), multiple=True, metavar="Y", help="Columns that are its outputs."),
    click.option("--timestamp", metavar="T", help="Column with the time: Unix seconds or ISO 8601."),
    click.option("--actual", metavar="LABEL", help="Column with the true answer."),
    click.option(
        "--source", metavar="S", help="Column that says where a row comes from; each is kept apart."
    ),
    click.option(
        "--categorical",
        type=Names(),
        multiple=True,
        metavar="C",
        help="Columns of categories written as numbers.",
    ),
]


def column_options(command: F) -> F:
    """Add all of them to a command."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def joined(groups: tuple[list[str], ...]) -> list[str]:
    """The names of an option that was given several times.

    >>> joined((["a", "b"], ["c"]))
    ['a', 'b', 'c']
    """
    return [name for group in groups for name in group]


def selection(columns: dict[str, Any]) -> Any:
    """The options about columns as the data set wants them."""
    from edge_mlops_monitor.dataset import Selection

    lists = {name: joined(columns[name]) for name in ("inputs", "outputs", "categorical")}
    return Selection(**{**columns, **lists})
