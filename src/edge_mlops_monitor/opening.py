"""Opening the database file: created whole or not at all, configured, explained where it cannot be.

A new database is made under another name and linked into place, so that of two processes that start at
the same moment one makes it and the other finds it complete.
"""

from __future__ import annotations

import fcntl
import logging
import math
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from edge_mlops_monitor import schema
from edge_mlops_monitor.errors import StoreCorruptError, StoreError, StoreFullError
from edge_mlops_monitor.retention import PAGE_SIZE, RESERVE_BYTES, cut_off, journal_bytes, most_pages

T = TypeVar("T")
logger = logging.getLogger("edge_mlops_monitor")

BUSY_SECONDS = 10.0
POLL_SECONDS = 0.03  # within that SQLite looks every 1 to 12 ms; left to itself it slows to every 100
MOST_REST_SECONDS = 0.015  # long enough for everybody who waits to look once
REST_SHARE = 0.1  # of the time that the last commit took
ALONE_SECONDS = 5.0
SCRUBBED_PAGES = 64  # at a time: what is moved passes through the journal


class Patience:
    """How long other processes are waited for: `BUSY_SECONDS`, but never beyond the moment `until`.

    Shared by all who must be done by then, so that it also reaches who waits already or is just opening.
    """

    until = math.inf  # monotonic seconds

    def is_over(self, asked_at: float, seconds: float) -> bool:
        """Whether somebody who has waited since `asked_at`, for `seconds` at most, gives up."""
        return time.monotonic() >= min(asked_at + seconds, self.until)


class Connection(sqlite3.Connection):
    """A connection that knows how patient it is, and for how long it leaves the file to others."""

    asked_at = 0.0  # monotonic seconds: since when somebody waits for the file
    patience = Patience()
    committed_at = 0.0
    rest = 0.0  # after the last commit


@contextmanager
def alone(path: Path, patience: Patience) -> Iterator[None]:
    """While no other process opens, makes or sets aside a database in the same folder.

    Without it, of two that meet the same damage one could set aside what the other has begun. It waits for
    a bounded time, and goes on without where the folder cannot be locked: opening must not hang.
    """
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # said with its remedy by whoever opens or makes the file
        yield
        return
    try:
        began = time.monotonic()
        while not _locked(folder) and not patience.is_over(began, ALONE_SECONDS):
            time.sleep(0.01)
        yield
    finally:
        os.close(folder)


def connect(path: Path, max_bytes: int, patience: Patience) -> Connection:
    """A configured connection to an existing database; StoreError where it is another program's."""
    connection = _connection(path, patience)
    try:
        if _ask(connection, "PRAGMA application_id")[0][0] != schema.APPLICATION_ID:
            raise StoreError(
                "the file is a database of another program; set storage.sqlite_path to a new file"
            )
        _configure(connection)
        _ask(connection, f"PRAGMA journal_size_limit = {journal_bytes(max_bytes)}")
        _ask(connection, f"PRAGMA max_page_count = {most_pages(max_bytes)}")  # never below what the file has
    except BaseException:
        connection.close()
        raise
    return connection


def patiently(connection: Connection, work: Callable[[], T]) -> T:
    """Do what another process may have to be waited for, as long as there is patience; it is begun again.

    Where several processes write all the time to a slow disk the file is free for a few milliseconds at a
    time, and whoever looks ten times a second meets them too seldom.
    """
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or connection.patience.is_over(connection.asked_at, BUSY_SECONDS):
                raise


def begin(connection: Connection, asked_at: float | None = None) -> None:
    """Take the write lock, asked for now or at `asked_at`; on a slow disk others are let in before and after.

    Nobody is told when the file is free, who waits looks now and then. Whoever took the lock again right
    after a long commit would let in no other writer, and two that take turns would let in no reader.
    """
    time.sleep(max(0.0, connection.committed_at + connection.rest - time.monotonic()))
    began = time.monotonic()
    connection.asked_at = began if asked_at is None else asked_at
    patiently(connection, lambda: connection.execute("BEGIN IMMEDIATE"))
    if time.monotonic() - began > connection.rest:  # others write as well: before us, those who read
        time.sleep(connection.rest)


def commit(connection: Connection) -> None:
    """Commit; what reads at the moment is waited for."""
    connection.asked_at = time.monotonic()
    patiently(connection, lambda: connection.execute("COMMIT"))
    connection.committed_at = time.monotonic()
    connection.rest = min(REST_SHARE * (connection.committed_at - connection.asked_at), MOST_REST_SECONDS)


def size(path: Path) -> int:
    """Bytes of the file, 0 where there is none; StoreError where nobody can tell."""
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot use the path {path}: {error}; set another storage.sqlite_path") from error


def is_of_version_0_1(path: Path, patience: Patience) -> bool:
    """Whether the file is a database of version 0.1 of this package."""
    connection = _connection(path, patience)
    try:
        names = {name for (name,) in _ask(connection, "SELECT name FROM sqlite_master WHERE type = 'table'")}
    finally:
        connection.close()
    return not names.isdisjoint({"model_inputs", "model_outputs", "telemetry_batches"})


def create(path: Path) -> None:
    """Make an empty database with all tables at `path`, unless another process was faster."""
    fresh = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Created by us, not by SQLite, so that it is never readable by others, not even for a moment.
        os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        try:
            _fill(fresh)
            if path.exists() and not size(path):
                path.unlink()
            with suppress(FileExistsError):
                os.link(fresh, path)
                os.replace(f"{fresh}-journal", f"{path}-journal")
        finally:
            for end in ("", "-journal"):
                with suppress(FileNotFoundError):
                    os.unlink(f"{fresh}{end}")
    except OSError as error:
        raise StoreError(
            f"cannot create the database {path}: {error.strerror}; "
            "set storage.sqlite_path to a folder this user may write to"
        ) from error


def set_aside(path: Path, why: str) -> str:
    """Move a database that cannot be used out of the way; what is said of it in the first event."""
    aside = path.with_name(f"{path.name}.{why}")  # one at most of each sort, so that it is bounded
    for end in ("", "-journal"):
        with suppress(OSError):
            os.replace(f"{path}{end}", f"{aside}{end}")
    logger.warning("the database %s is %s; it was moved to %s and a fresh one begun", path, why, aside)
    return f"database {why}, moved to {aside.name}"


def explained(error: sqlite3.Error, path: Path) -> StoreError:
    """An error of SQLite as one sentence with its remedy."""
    text = str(error)
    if "full" in text or "disk I/O error" in text:
        return StoreFullError(
            f"no space for the database {path} ({text}); free disk space or lower storage.max_sqlite_size_mb"
        )
    if "malformed" in text or "not a database" in text or "corrupt" in text:
        return StoreCorruptError(
            f"the database {path} is damaged ({text}); move it away, and a fresh one is begun"
        )
    if _is_busy(error):
        return StoreError(f"the database {path} is held by another process ({text}); it is tried again")
    return StoreError(f"the database {path} cannot be used: {text}; see `edge-mlops-monitor check`")


def _is_busy(error: sqlite3.Error) -> bool:
    text = str(error)
    return "locked" in text or "busy" in text


def _locked(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without such locks
        return True
    return True


def _connection(path: Path, patience: Patience) -> Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode=rw",
        factory=Connection,
        uri=True,
        timeout=POLL_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.asked_at = time.monotonic()
    connection.patience = patience
    return connection


def _fill(path: Path) -> None:
    connection = _connection(path, Patience())  # nobody else knows the file yet
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        _configure(connection)
        reserve(connection)
        connection.execute("BEGIN IMMEDIATE")
        schema.migrate(connection)
        connection.execute("COMMIT")
    finally:
        connection.close()


def _configure(connection: Connection) -> None:
    for pragma in (
        "trusted_schema = OFF",
        # ON, as in Debian, would write every freed page once more; FAST clears what is written anyway.
        "secure_delete = FAST",
        "temp_store = MEMORY",
        "journal_mode = PERSIST",
        "synchronous = FULL",
    ):
        _ask(connection, f"PRAGMA {pragma}")


def _ask(connection: Connection, sql: str) -> list[Any]:
    return patiently(connection, lambda: connection.execute(sql).fetchall())


def scrub(connection: Connection) -> None:
    """Give the free pages back to the file system and empty the journal: both hold what was deleted."""
    more = True
    while more:
        begin(connection)
        more = cut_off(connection.execute, SCRUBBED_PAGES)
        commit(connection)
    _remove_journal(connection)
    reserve(connection)


def _remove_journal(connection: Connection) -> None:
    """As `PRAGMA journal_mode = DELETE` does, which leaves it where it is if another process is writing."""
    path = connection.execute("PRAGMA database_list").fetchone()[2]
    begin(connection)  # nobody has it open now, and it is not needed: nothing was written yet
    with suppress(FileNotFoundError):
        os.unlink(f"{path}-journal")
    commit(connection)


def reserve(connection: Connection) -> None:
    """Leave free pages in the file and space in the journal, so that a full disk still lets us delete."""
    table = "CREATE TABLE IF NOT EXISTS reserve (bytes BLOB)"  # another process may do the same
    for statements in (
        (table, f"INSERT INTO reserve VALUES (zeroblob({RESERVE_BYTES}))"),
        (table, f"UPDATE reserve SET bytes = randomblob({RESERVE_BYTES})"),
        ("DROP TABLE IF EXISTS reserve",),
    ):
        begin(connection)
        for statement in statements:
            connection.execute(statement)
        commit(connection)
