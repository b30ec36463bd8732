"""The tree of commands; a command's module is imported when the command is called or listed."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import click

from edge_mlops_monitor import __version__

COMMANDS = {
    "demo": "demo:demo",
    "init": "init:init",
    "check": "check:check",
    "run": "run:run",
    "status": "status:status",
    "drift": "drift:drift",
    "export": "export:export",
    "upload": "upload:upload",
    "purge": "purge:purge",
    "reference": "reference:reference",
    "replay": "replay:replay",
}


class Application(click.Group):
    """A group that imports `COMMANDS` one by one, in the order in which people need them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"edge_mlops_monitor.cli.{module}"), name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """As in click, but an unknown command names the nearest known one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(COMMANDS)}"
            raise click.UsageError(f"there is no command '{args[0]}'; {hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=Application,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: edge-mlops-monitor demo",
)
@click.version_option(__version__, "--version", message="%(prog)s %(version)s")
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Config file, as the option of each command.",
)
@click.pass_context
def application(ctx: click.Context, config_path: Path | None) -> None:
    """Watches machine-learning models on the device where they run."""
    ctx.obj = config_path
