"""Turns what went wrong into one sentence and an exit status."""

from __future__ import annotations

import os

import click

from edge_mlops_monitor.errors import (
    ConfigError,
    DataError,
    EdgeMonitorError,
    StoreError,
    UnknownNameError,
)

FAILED, WRONG_USAGE = 1, 2


def explained(error: Exception) -> tuple[str, int]:
    """The sentence for the user and the exit status."""
    if isinstance(error, click.ClickException):
        return _of_click(error), error.exit_code
    if isinstance(error, click.Abort):
        return "stopped", FAILED
    if isinstance(error, (ConfigError, DataError, UnknownNameError)):
        return str(error), WRONG_USAGE
    if isinstance(error, (EdgeMonitorError, StoreError)):
        return str(error), FAILED
    if isinstance(error, FileNotFoundError):
        return _of_system(error), WRONG_USAGE
    if isinstance(error, OSError):
        return _of_system(error), FAILED
    return (
        f"this should not have happened ({type(error).__name__}: {error}); "
        "please report it with what EDGE_MLOPS_MONITOR_TRACEBACK=1 shows",
        FAILED,
    )


def _of_click(error: click.ClickException) -> str:
    text = error.format_message().rstrip(".")
    if text.startswith("Usage:"):  # no command was named, and click answers with the whole help
        return f"name a command\n\n{text}"
    text = text[:1].lower() + text[1:]
    context = getattr(error, "ctx", None)
    if context is None:
        return text
    return f"{text}; see {context.command_path} --help"


def _of_system(error: OSError) -> str:
    if error.filename is None or error.strerror is None:
        return str(error)
    remedy = {
        FileNotFoundError: "check the name",
        PermissionError: "check its permissions or run as the user who owns it",
        IsADirectoryError: "name a file in it",
    }.get(type(error), "check the disk and the path")
    return f"{os.fsdecode(error.filename)}: {error.strerror.lower()}; {remedy}"
