"""The database on the device: append, read, remember; one SQLite file, shared by processes.

Records are kept in blocks (see `blocks`), one table for each kind. All changes go through one context
manager, `Store.transaction`, which holds the write lock of the file; sequence numbers are assigned
inside it, so they are contiguous over all processes. Readers take one block at a time, each in a
transaction of its own, so that an iterator left open never blocks a writer.

A rollback journal with `synchronous=FULL` is used, not a WAL: docs/decisions/0001 has the measurements.
A connection is never carried over `os.fork`: a child opens its own.
"""

from __future__ import annotations

import math
import os
import sqlite3
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from edge_mlops_monitor import opening, schema
from edge_mlops_monitor.blocks import Block
from edge_mlops_monitor.clock import Clock
from edge_mlops_monitor.clones import begin_generation
from edge_mlops_monitor.errors import StoreCorruptError, StoreError
from edge_mlops_monitor.records import Record
from edge_mlops_monitor.retention import shrink
from edge_mlops_monitor.transaction import Transaction
from edge_mlops_monitor.turns import Turns

T = TypeVar("T")
LAST_KEY = 1 << 62  # beyond any
_stores: weakref.WeakSet[Store] = weakref.WeakSet()  # of this process, for when it forks


class Store:
    """The database at `path`, opened, and created where `create` allows.

    `max_bytes` bounds the file. `device_id` names the device in every record; where it is empty the one
    in the database is kept, and a new database asks the machine whose files are under `root`, as does one
    that meets other hardware (see `clones`). Raises StoreError (with the remedy) where it cannot be used.

    >>> import tempfile, os
    >>> from edge_mlops_monitor.records import Actual
    >>> store = Store(os.path.join(tempfile.mkdtemp(), "m.db"), device_id="pi-7")
    >>> with store.transaction() as tx:
    ...     tx.append("actuals", [Actual(ts=1.0, prediction_id="p", actual=3)])
    (1, 1)
    >>> [(a.seq, a.device_id, a.actual) for a in store.newest("actuals")]
    [(1, 'pi-7', 3)]
    >>> store.close()
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        device_id: str = "",
        root: str | os.PathLike[str] = "/",
        max_bytes: int = 100 << 20,
        keep_predictions: int | None = None,
        has_sinks: bool = False,
        create: bool = True,
        clock: Clock | None = None,
        patience: opening.Patience | None = None,
    ) -> None:
        self.path = Path(path)
        self.max_bytes = max_bytes
        self.keep_predictions = keep_predictions
        self.has_sinks = has_sinks
        self.clock = clock or Clock()
        self.patience = patience or opening.Patience()
        self._create = create
        self._wanted_id = device_id
        self._root = root
        self._lock = Turns()
        self._connection: opening.Connection | None = None
        self._pid = 0
        self._file = b""
        self._damaged = self._held = self._orphaned = False
        self.device_id = self.generation = ""
        _stores.add(self)
        with self._connected():
            pass

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Hold the write lock; commit at the end, or roll all of it back on an exception."""
        asked_at = time.monotonic()
        with self._connected() as connection:
            opening.begin(connection, asked_at)
            pid = os.getpid()
            try:
                tx = Transaction(self, connection)
                yield tx
                if pid != os.getpid():
                    raise StoreError("a transaction ends in the process that began it, not in a forked child")
                tx.write_sequences()
                opening.commit(connection)
            except BaseException:
                if pid == os.getpid() and connection.in_transaction:
                    with suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                raise
            self.device_id, self.generation = tx.device_id, tx.generation

    def query(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[Any]:
        """All rows of a small SELECT, in a transaction of its own."""
        return self._read(lambda connection: connection.execute(sql, parameters).fetchall())

    def get(self, name: str) -> bytes | None:
        """A small piece of state, by name; None where there is none."""
        rows = self.query("SELECT value FROM state WHERE name = ?", (name,))
        return bytes(rows[0][0]) if rows else None

    def blocks(self, kind: str, after: int = 0, limit: int = 16, up_to: int = LAST_KEY) -> list[Block]:
        """Up to `limit` blocks whose key is greater than `after` and at most `up_to`, oldest first."""
        return self._blocks(kind, "b.key > ? AND b.key <= ? ORDER BY b.key LIMIT ?", (after, up_to, limit))

    def newest_key(self, kind: str) -> int:
        """The key of the newest block of a kind; 0 where there is none."""
        return self._read(lambda connection: Transaction(self, connection).newest_key(kind))

    def newest(
        self,
        kind: str,
        *,
        limit: int | None = None,
        since: float | None = None,
        until: float | None = None,
        model: str | None = None,
        source: str | None = None,
    ) -> Iterator[Record]:
        """The records of a kind, newest first; `since` and `until` are Unix seconds."""
        below = LAST_KEY
        where = "b.key < ? AND b.last_ts >= ? AND b.first_ts <= ? ORDER BY b.key DESC LIMIT 1"
        low, high = -math.inf if since is None else since, math.inf if until is None else until
        left = limit
        while left is None or left > 0:
            found = self._blocks(kind, where, (below, low, high))
            if not found:
                return
            below = found[0].key
            for record in reversed(found[0].records()):
                if low <= record.ts <= high and _matches(record, model, source):
                    yield record
                    if left is not None:
                        left -= 1
                        if left <= 0:
                            return

    def find_block(self, prediction_id: str) -> Block | None:
        """The block that holds a prediction, if it is still here."""
        return self._read(lambda connection: Transaction(self, connection).find_block(prediction_id))

    def find_predictions(self, ids: Sequence[str]) -> dict[str, list[Any]]:
        """The rows of those of these predictions that are still here, by id (see `blocks.FIELDS`)."""
        return self._read(lambda connection: Transaction(self, connection).find_predictions(ids))

    def sealed(self, kind: str) -> int:
        """Up to which key the records of a kind have been sealed for upload."""
        return self._read(lambda connection: Transaction(self, connection).sealed(kind))

    def counts(self) -> dict[str, int]:
        """Records of each kind that are in the database now."""
        return dict(self.query("SELECT kind, stored - removed FROM sequences"))

    def losses(self) -> dict[str, int]:
        """Records given up, by reason, since the database was created."""
        return dict(self.query("SELECT reason, records FROM losses"))

    def file_bytes(self) -> int:
        """Size of the database file."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def scrub(self) -> None:
        """Let nothing of what was deleted remain in the file or its journal."""
        with self._connected() as connection:
            opening.scrub(connection)

    def close(self, timeout: float = -1) -> None:
        """Close the connection of this process; the next use opens it again.

        Where a thread still needs it after `timeout` seconds (-1: however long) it stays open.
        """
        if self._lock.acquire(timeout):
            try:
                self._disconnect()
            finally:
                self._lock.release()

    def __del__(self) -> None:
        # One that is forgotten rather than closed; another process's, and half-made ones, are left alone.
        if getattr(self, "_pid", 0) == os.getpid():
            with suppress(Exception):
                self._disconnect()

    def before_fork(self) -> None:
        """Close the connection, so that the child has nothing of it.

        SQLite notes in memory which locks this process holds. In a child these notes would be wrong: it
        would write without a lock, and damage the file. A transaction of another thread is waited for.
        """
        self._held = self._lock.acquire(timeout=opening.BUSY_SECONDS + 5.0)
        if self._held and self._connection is not None and not self._connection.in_transaction:
            self._disconnect()

    def after_fork_in_parent(self) -> None:
        """Go on; the next use opens a connection again."""
        if self._held:
            self._lock.release()

    def after_fork(self) -> None:
        """In the child: begin anew. What was forked in the middle of a transaction stays unusable there."""
        if self._connection is not None:
            _keep_for_ever(self._connection)
            self._orphaned = True
        self._connection = None
        self._lock = Turns()
        self._pid = os.getpid()

    def _blocks(self, kind: str, where: str, parameters: Sequence[Any]) -> list[Block]:
        return self._read(lambda connection: Transaction(self, connection).blocks(kind, where, parameters))

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        asked_at = time.monotonic()
        with self._connected() as connection:
            connection.asked_at = asked_at
            return opening.patiently(connection, lambda: work(connection))

    @contextmanager
    def _connected(self) -> Iterator[opening.Connection]:
        if self._pid not in (0, os.getpid()):
            self.after_fork()
        if self._orphaned:
            raise StoreError("the process was forked inside a transaction; fork before or after it")
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._open()
                yield self._connection
            except sqlite3.Error as error:
                explained = opening.explained(error, self.path)
                if isinstance(explained, StoreCorruptError):
                    self._condemn()
                elif self._connection is not None and self._file != self._identity():
                    self._disconnect()  # deleted or replaced under us: next time, open what is there
                raise explained from error

    def _condemn(self) -> None:
        """After damage was met: set the file aside at the next use, if it is still the one that was open."""
        if self._connection is not None:
            self._disconnect()
            if self._create and self._file == self._identity():
                self._damaged = True

    def _disconnect(self) -> None:
        if self._connection is not None and self._pid == os.getpid():
            self._connection.close()
        self._connection = None

    def _identity(self) -> bytes:
        try:
            stat = self.path.stat()
        except OSError:
            return b""
        return f"{stat.st_dev}:{stat.st_ino}".encode()

    def _open(self) -> opening.Connection:
        with opening.alone(self.path, self.patience):
            # Another process that met the same damage may have begun a fresh one already.
            damaged, self._damaged = self._damaged and self._identity() == self._file, False
            reason = opening.set_aside(self.path, "damaged") if damaged else ""
            file = self._identity()
            try:
                return self._open_file(reason)
            except sqlite3.DatabaseError as error:
                moved = self._identity() != file  # by somebody who could not wait for us
                damaged = isinstance(opening.explained(error, self.path), StoreCorruptError)
                if not self._create or not (moved or damaged):
                    raise
            if not moved:
                reason = opening.set_aside(self.path, "damaged")
            return self._open_file(reason)

    def _open_file(self, reason: str) -> opening.Connection:
        exists = opening.size(self.path) > 0
        if not exists and not self._create:
            raise StoreError(
                f"there is no database at {self.path}; start the monitor once, or name its config"
            )
        if exists and self._create and opening.is_of_version_0_1(self.path, self.patience):
            reason, exists = opening.set_aside(self.path, "v0.1"), False
        if not exists:
            opening.create(self.path)
        connection = opening.connect(self.path, self.max_bytes, self.patience)
        try:
            self._pid = os.getpid()
            self._file = self._identity()
            if self._create:
                self._prepare(connection, reason)
                self._fit(connection)
            self._read_names(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: opening.Connection, reason: str) -> None:
        """Migrate, and begin a generation where this boot, this file or this device has none yet."""
        file = self._file
        opening.begin(connection)
        schema.migrate(connection)
        tx = Transaction(self, connection)
        reason = reason or self._reason_for_generation(tx, file)
        if reason:
            tx.put("file", file)
            begin_generation(tx, reason, self._wanted_id, self._root)
            tx.write_sequences()
        opening.commit(connection)

    def _fit(self, connection: opening.Connection) -> None:
        """Shrink the file where the bound was lowered."""
        more = True
        while more:
            opening.begin(connection)
            tx = Transaction(self, connection)
            more = shrink(tx)
            tx.write_sequences()
            opening.commit(connection)

    def _reason_for_generation(self, tx: Transaction, file: bytes) -> str:
        row = tx.sql("SELECT boot_id, device_id FROM generations ORDER BY number DESC LIMIT 1").fetchone()
        if row is None:
            return "first start"
        if row[0] != self.clock.boot_id():
            return "new boot"
        if tx.get("file") != file:
            return "database restored or replaced"
        if self._wanted_id and row[1] != self._wanted_id:
            return "new device id"
        return ""

    def _read_names(self, connection: opening.Connection) -> None:
        sql = "SELECT name, device_id FROM generations ORDER BY number DESC LIMIT 1"
        row = opening.patiently(connection, lambda: connection.execute(sql).fetchone())
        self.generation, self.device_id = row or ("", self._wanted_id)


def _matches(record: Any, model: str | None, source: str | None) -> bool:
    return (model is None or getattr(record, "model", None) == model) and (
        source is None or getattr(record, "source", None) == source
    )


def _keep_for_ever(connection: sqlite3.Connection) -> None:
    """Let it never be closed, not even at the end of the interpreter: that would undo the parent's work."""
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def _tell_all(what: Callable[[Store], None]) -> Callable[[], None]:
    def tell() -> None:
        for store in list(_stores):
            what(store)

    return tell


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_tell_all(Store.before_fork),
        after_in_parent=_tell_all(Store.after_fork_in_parent),
        after_in_child=_tell_all(Store.after_fork),
    )
