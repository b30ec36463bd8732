"""The network of the demo: simulated, since a demo must not need one.

The real `file` sink uploads to a folder. While the network is `gone`, whatever this process does in that
folder fails as on a network share that cannot be reached; other processes still see the folder.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

TOUCHING = {"open", "os.mkdir", "os.link", "os.rename", "os.remove", "os.scandir", "os.listdir"}


class SimulatedNetwork:
    """Between this process and the folder `far_end`.

    Python asks an audit hook before it touches a file. A hook cannot be removed again, so this is for a
    process of its own, as the command `demo` is.
    """

    def __init__(self, far_end: Path) -> None:
        self.gone = False
        self._far_end = os.path.abspath(far_end)
        sys.addaudithook(self._before)

    def _before(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.gone and event in TOUCHING and self._beyond(arguments[0]):
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH), arguments[0])

    def _beyond(self, path: Any) -> bool:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return False
        return os.fsdecode(path).startswith(self._far_end)
