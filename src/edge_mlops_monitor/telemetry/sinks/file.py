"""A sink that is a folder: a mounted share, a USB disk, or the bucket of a demonstration.

An object appears whole or not at all, and is on stable storage before it counts as accepted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from edge_mlops_monitor.telemetry.sinks.sink import Accepted, Answer, Conflict, Never, TryAgain

INCOMING = ".incoming"  # half-written objects; on the same file system, so that a link moves them
STALE_SECONDS = 3600.0

_REFUSALS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class FileSink:
    """Puts objects under the folder `path`, their keys as relative paths that begin with `prefix`.

    >>> import tempfile
    >>> sink = FileSink(tempfile.mkdtemp())
    >>> sink.put("v1/a.txt", b"hello", "text/plain")
    Accepted(existed=False)
    >>> sink.put("../a.txt", b"hello", "text/plain").reason
    "the key '../a.txt' is not a path below the folder"
    """

    def __init__(self, path: str, prefix: str = "") -> None:
        if not path:
            raise ValueError("the sink 'file' has no path; name the folder to upload to")
        self.path = Path(path)
        self.prefix = prefix
        self._swept = False

    def put(self, key: str, body: bytes, content_type: str) -> Answer:
        parts = (self.prefix + key).split("/")
        if any(part in ("", ".", "..", INCOMING) or "\0" in part for part in parts):
            return Never(f"the key {self.prefix + key!r} is not a path below the folder")
        target = self.path.joinpath(*parts)
        try:
            if not target.exists() and self._create(target, body):
                return Accepted()
            return _compared(target, body)
        except OSError as error:
            return self._explained(error)

    def check(self) -> list[str]:
        folder = self.path
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if not folder.is_dir():
            return [f"{folder} is not a folder; name another path for the sink"]
        if not os.access(folder, os.W_OK | os.X_OK):
            return [f"this user may not write to {folder}; change its owner or name another path"]
        return []

    def close(self) -> None:
        pass

    def _create(self, target: Path, body: bytes) -> bool:
        """Write beside, then move to the key in one step; False where the key was taken meanwhile."""
        _make_folders(target.parent)
        with self._temporary() as temporary:
            with open(temporary, "xb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            if not _move(temporary, target):
                return False
        _sync_folder(target.parent)
        return True

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[Path]:
        incoming = self.path / INCOMING
        incoming.mkdir(exist_ok=True)
        if not self._swept:
            self._swept = True
            _sweep(incoming)
        temporary = incoming / uuid.uuid4().hex
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def _explained(self, error: OSError) -> TryAgain:
        reason = f"cannot write to {self.path}: {error.strerror or error}"
        return TryAgain(reason, refused=error.errno in _REFUSALS)


def _compared(target: Path, body: bytes) -> Answer:
    try:
        with open(target, "rb") as file:
            existing = file.read(len(body) + 1)
    except FileNotFoundError:
        return TryAgain(f"{target} came and went while it was written")
    if existing != body:
        return Conflict(f"{target} holds another content")
    _sync_folder(target.parent)  # whoever linked it may have died before it was on stable storage
    return Accepted(existed=True)


def _move(temporary: Path, target: Path) -> bool:
    """Give a complete file its name, never over another one."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if target.exists():  # FAT has no links: a second writer within this instant would go unseen
            return False
        os.rename(temporary, target)
    return True


def _make_folders(folder: Path) -> None:
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for name in reversed(missing):
        name.mkdir(exist_ok=True)
        _sync_folder(name.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(handle)


def _sweep(incoming: Path) -> None:
    """Remove what a crash left behind; what another process is writing now is younger."""
    oldest = time.time() - STALE_SECONDS
    for file in incoming.iterdir():
        with contextlib.suppress(OSError):
            if file.stat().st_mtime < oldest:
                file.unlink()
