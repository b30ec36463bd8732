"""What becomes of monitors when the process forks or exits; registered once, when the first is made."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from typing import Protocol

logger = logging.getLogger("edge_mlops_monitor")


class Living(Protocol):
    """What is told of forks and of the end."""

    def after_fork(self) -> None:
        """In the child: nothing of the parent's."""

    def at_exit(self) -> None:
        """Bring what was logged to stable storage; the interpreter ends."""


_living: list[Living] = []  # kept alive, since records may wait in them when the program has forgotten them
_armed = False
# Held while a background thread imports: a child forked in the middle would keep half a module for ever.
importing = threading.RLock()


def watch_over(living: Living) -> None:
    """Tell `living` of forks and of the end."""
    global _armed
    _living.append(living)
    if not _armed:
        _armed = True
        atexit.register(_at_exit)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=importing.acquire, after_in_parent=importing.release, after_in_child=_after_fork
            )


def at_exit_of_child(living: Living) -> None:
    """In a child of `multiprocessing`, which skips atexit: tell it of the end all the same."""
    if "multiprocessing" in sys.modules:
        from multiprocessing.util import Finalize

        Finalize(None, _end, args=(living,), exitpriority=100)


def _after_fork() -> None:
    importing.release()
    for living in list(_living):
        living.after_fork()


def _at_exit() -> None:
    for living in list(_living):
        _end(living)


def _end(living: Living) -> None:
    try:
        living.at_exit()
    except Exception:
        logger.debug("at exit", exc_info=True)
