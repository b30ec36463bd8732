"""`run`: the long-running agent."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from edge_mlops_monitor.cli.options import config_option, load


@click.command()
@config_option
def run(config_path: Path | None) -> None:
    """Measure, decide and upload until stopped (SIGTERM, Ctrl-C).

    Model programs on the device log into the same database with EdgeMonitor.
    """
    from edge_mlops_monitor.monitor import EdgeMonitor

    config = load(config_path)
    _log_to_stderr(config.model_logging.log_level)
    with told_to_stop() as told:
        monitor = EdgeMonitor(config=config)
        monitor.start()
        logger = logging.getLogger("edge_mlops_monitor")
        logger.info("running; config %s, database %s", config.path or "defaults", config.storage.sqlite_path)
        notify("READY=1")
        told.recv(1)
        notify("STOPPING=1")
        monitor.stop()
    logger.info("stopped")


@contextmanager
def told_to_stop() -> Iterator[socket.socket]:
    """A socket that can be read once SIGTERM or SIGINT has come.

    Handlers of Python run between two of its instructions: one that sets an event could find the event's lock
    held by what it interrupted, and a signal just before the wait would be heard of only at the next one.
    """
    reading, writing = socket.socketpair()
    with reading, writing:
        writing.setblocking(False)
        before = signal.set_wakeup_fd(writing.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        try:
            yield reading
        finally:
            signal.set_wakeup_fd(before)


def _log_to_stderr(level: str) -> None:
    # Under systemd the journal adds the time; elsewhere we do.
    form = (
        "%(levelname)s %(message)s"
        if os.environ.get("JOURNAL_STREAM")
        else "%(asctime)s %(levelname)s %(message)s"
    )
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(form))
    logger = logging.getLogger("edge_mlops_monitor")
    logger.addHandler(handler)
    logger.setLevel(level)


def notify(state: str, environ: Any = os.environ) -> None:
    """Tell systemd (`Type=notify`) how we are; nothing where it did not start us. See sd_notify(3)."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(state.encode(), address)
    except OSError:
        pass  # the agent works without
