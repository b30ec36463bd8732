"""The database on the device: append, read, remember; one SQLite file, shared by processes.

Records are kept in blocks (see `blocks`), one table for each kind. All changes go through one context
manager, `Store.transaction`, which holds the write lock of the file; sequence numbers are assigned
inside it, so they are contiguous over all processes. Readers take one block at a time, each in a
transaction of its own, so that an iterator left open never blocks a writer.

A rollback journal with `synchronous=FULL` is used, not a WAL: docs/decisions/0001 has the measurements.
A connection is never carried over `os.fork`: a child opens its own.
"""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edge_mlops_monitor import blocks, schema
from edge_mlops_monitor.blocks import SEQ_BITS, SEQ_MASK, Block, Packed
from edge_mlops_monitor.clock import Clock
from edge_mlops_monitor.errors import StoreCorruptError, StoreError, StoreFullError
from edge_mlops_monitor.records import Event, Record
from edge_mlops_monitor.retention import PAGE_SIZE, RESERVE_BYTES, declare, make_room

logger = logging.getLogger("edge_mlops_monitor")

BUSY_SECONDS = 10.0

_BLOCK_COLUMNS = (
    "b.key, g.name, g.boot_id, g.device_id, b.first_seq, b.records, b.session, b.first_ts, b.last_ts, "
    "b.synced, b.payload"
)
_abandoned: list[sqlite3.Connection] = []  # of a parent process: closing them here could break its locks


class Transaction:
    """What can be done inside `Store.transaction`; all of it is committed, or none."""

    def __init__(self, store: Store, connection: sqlite3.Connection) -> None:
        self.store = store
        self.sql = connection.execute
        row = self.sql(
            "SELECT number, name, device_id FROM generations ORDER BY number DESC LIMIT 1"
        ).fetchone()
        self.generation_number: int = row[0] if row else 0
        self.generation: str = row[1] if row else ""
        self.device_id: str = row[2] if row else ""
        self.room = 0  # pages known to be free under the bound
        self._appended: dict[str, tuple[int, int]] = {}  # kind -> last number, records appended

    def append(self, kind: str, records: Sequence[Record]) -> tuple[int, int]:
        """Store records (`ts` is theirs, the rest of the envelope the store's); their sequence range."""
        return self.append_block(kind, blocks.pack(kind, records))

    def append_block(self, kind: str, packed: Packed) -> tuple[int, int]:
        """Store a packed block, making room first where the bound on disk asks for it."""
        make_room(self, len(packed.payload))
        first_seq = self._last_seq(kind) + 1
        last_seq = first_seq + packed.count - 1
        row = (
            self.generation_number << SEQ_BITS | last_seq,
            first_seq,
            packed.count,
            packed.session,
            packed.first_n,
            packed.last_n,
            packed.first_ts,
            packed.last_ts,
            self._synchronised(),
            packed.payload,
        )
        self.sql(f"INSERT INTO {kind} VALUES (?,?,?,?,?,?,?,?,?,?)", row)
        self._appended[kind] = (last_seq, self._appended[kind][1] + packed.count)
        return first_seq, last_seq

    def write_sequences(self) -> None:
        """Write down the last numbers given; called before the commit, once for all that was appended."""
        for kind, (last_seq, count) in self._appended.items():
            sql = "UPDATE sequences SET last_seq = ?, stored = stored + ? WHERE kind = ?"
            self.sql(sql, (last_seq, count, kind))
        self._appended.clear()

    def _last_seq(self, kind: str) -> int:
        if kind not in self._appended:
            row = self.sql("SELECT last_seq FROM sequences WHERE kind = ?", (kind,)).fetchone()
            self._appended[kind] = (row[0], 0)
        return self._appended[kind][0]

    def _synchronised(self) -> int | None:
        synced = self.store.clock.is_synchronised()
        return None if synced is None else int(synced)

    def event(self, type: str, severity: str, message: str, **data: Any) -> Event:
        """Store one event, now."""
        event = Event(
            ts=self.store.clock.time(),
            id=secrets.token_hex(8),
            type=type,
            severity=severity,
            message=message,
            data=data,
        )
        self.append("events", [event])
        return event

    def lost(self, reason: str, records: int) -> None:
        """Count records that were given up, by reason."""
        self.sql("INSERT OR IGNORE INTO losses VALUES (?, 0)", (reason,))
        self.sql("UPDATE losses SET records = records + ? WHERE reason = ?", (records, reason))

    def blocks(self, kind: str, where: str, parameters: Sequence[Any]) -> list[Block]:
        """The blocks (alias `b`) that an SQL condition selects."""
        _check_kind(kind)
        sql = (
            f"SELECT {_BLOCK_COLUMNS} FROM {kind} b JOIN generations g ON g.number = b.key >> {SEQ_BITS} "
            f"WHERE {where}"
        )
        return [
            Block(
                kind=kind,
                key=row[0],
                generation=row[1],
                boot_id=row[2],
                device_id=row[3],
                first_seq=row[4],
                count=row[5],
                session=row[6],
                first_ts=row[7],
                last_ts=row[8],
                synced=None if row[9] is None else bool(row[9]),
                payload=row[10],
            )
            for row in self.sql(sql, parameters)
        ]

    def find_block(self, prediction_id: str) -> Block | None:
        """The block that holds a prediction, if it is still here."""
        row = self.sql("SELECT key FROM caller_ids WHERE id = ?", (prediction_id,)).fetchone()
        found = self.blocks("predictions", "b.key = ?", row) if row else []
        split = blocks.split_id(prediction_id)
        if not found and split is not None:
            where = "b.session = ? AND b.first_n <= ? AND b.last_n >= ? ORDER BY b.key DESC LIMIT 1"
            found = self.blocks("predictions", where, (split[0], split[1], split[1]))
        return found[0] if found else None

    def rewrite(self, block: Block, unwanted: Sequence[bool], reason: str) -> int:
        """Take records out of a block; what a sink waited for is declared as given up. How many went."""
        packed, gone = blocks.without(block, unwanted)
        if not gone:
            return 0
        if packed is None:
            self.sql(f"DELETE FROM {block.kind} WHERE key = ?", (block.key,))
        else:
            values = (packed.payload, packed.count, packed.first_ts, packed.last_ts, block.key)
            sql = f"UPDATE {block.kind} SET payload=?, records=?, first_ts=?, last_ts=? WHERE key = ?"
            self.sql(sql, values)
        self.sql("UPDATE sequences SET removed = removed + ? WHERE kind = ?", (len(gone), block.kind))
        if self.store.has_sinks and block.key > self.sealed(block.kind):
            declare(self, block.kind, block.key >> SEQ_BITS, gone, reason)
        return len(gone)

    def get(self, name: str) -> bytes | None:
        """A small piece of state, by name."""
        row = self.sql("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def put(self, name: str, value: bytes | None) -> None:
        """Set a piece of state; None removes it."""
        if value is None:
            self.sql("DELETE FROM state WHERE name = ?", (name,))
        else:
            self.sql("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, value))

    def sealed(self, kind: str) -> int:
        """Up to which key the records of a kind have been sealed for upload."""
        row: tuple[int] = self.sql("SELECT sealed FROM sequences WHERE kind = ?", (kind,)).fetchone()
        return row[0]

    def set_sealed(self, kind: str, key: int) -> None:
        """Move the mark that `sealed` reads."""
        self.sql("UPDATE sequences SET sealed = ? WHERE kind = ?", (key, kind))

    def begin_generation(self, reason: str, device_id: str | None = None) -> str:
        """Count from 1 under a new name; the first event names the previous one and its last numbers."""
        self.write_sequences()
        previous = self.generation
        last = dict(self.sql("SELECT kind, last_seq FROM sequences WHERE last_seq > 0"))
        self.generation_number += 1
        self.generation = f"{self.generation_number:05d}.{secrets.token_hex(4)}"
        self.device_id = device_id or self.device_id
        self.sql(
            "INSERT INTO generations VALUES (?,?,?,?,?,?)",
            (
                self.generation_number,
                self.generation,
                self.device_id,
                self.store.clock.boot_id(),
                self.store.clock.time(),
                reason,
            ),
        )
        self.sql("UPDATE sequences SET last_seq = 0")
        self.event(
            "generation",
            "info",
            f"sequence numbers begin anew: {reason}",
            reason=reason,
            generation=self.generation,
            previous=previous or None,
            previous_last_seq=last,
        )
        return self.generation


class Store:
    """The database at `path`, opened, and created where `create` allows.

    `max_bytes` bounds the file. `device_id` names the device in every record; where it is empty the one
    in the database is kept, and a new database asks `default_device_id`. Raises StoreError (with the
    remedy) where it cannot be used.

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
        default_device_id: Callable[[], str] = lambda: "device",
        max_bytes: int = 100 << 20,
        keep_predictions: int | None = None,
        has_sinks: bool = False,
        create: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self.path = Path(path)
        self.max_bytes = max_bytes
        self.keep_predictions = keep_predictions
        self.has_sinks = has_sinks
        self.clock = clock or Clock()
        self._create = create
        self._wanted_id = device_id
        self._default_id = default_device_id
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pid = 0
        self._file = b""
        self._damaged = False
        self.device_id = self.generation = ""
        with self._connected():
            pass

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Hold the write lock; commit at the end, or roll all of it back on an exception."""
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                tx = Transaction(self, connection)
                yield tx
                tx.write_sequences()
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    with suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                raise
            self.device_id, self.generation = tx.device_id, tx.generation

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows of a small SELECT, in a transaction of its own."""
        with self._connected() as connection:
            return connection.execute(sql, parameters).fetchall()

    def get(self, name: str) -> bytes | None:
        """A small piece of state, by name; None where there is none."""
        rows = self.query("SELECT value FROM state WHERE name = ?", (name,))
        return bytes(rows[0][0]) if rows else None

    def blocks(self, kind: str, after: int = 0, limit: int = 16) -> list[Block]:
        """Up to `limit` blocks whose key is greater than `after`, oldest first."""
        return self._blocks(kind, "b.key > ? ORDER BY b.key LIMIT ?", (after, limit))

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
        below = 1 << 62
        where = "b.key < ? AND b.last_ts >= ? AND b.first_ts <= ? ORDER BY b.key DESC LIMIT 1"
        low, high = -1e300 if since is None else since, 1e300 if until is None else until
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
        with self._connected() as connection:
            return Transaction(self, connection).find_block(prediction_id)

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

    def close(self) -> None:
        """Close the connection of this process; the next use opens it again."""
        with self._lock:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    def after_fork(self) -> None:
        """In the child: leave the parent's connection and lock alone, and open anew when needed."""
        if self._connection is not None:
            _abandoned.append(self._connection)
        self._connection = None
        self._lock = threading.RLock()

    def _blocks(self, kind: str, where: str, parameters: Sequence[Any]) -> list[Block]:
        with self._connected() as connection:
            return Transaction(self, connection).blocks(kind, where, parameters)

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        if self._pid not in (0, os.getpid()):
            self.after_fork()
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._open()
                yield self._connection
            except sqlite3.Error as error:
                explained = _explained(error, self.path)
                if isinstance(explained, StoreCorruptError):
                    self._condemn()
                raise explained from error

    def _condemn(self) -> None:
        """After damage was met: set the file aside at the next use, if it is still the one that was open."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            if self._create and self._file == self._identity():
                self._damaged = True

    def _identity(self) -> bytes:
        try:
            stat = self.path.stat()
        except OSError:
            return b""
        return f"{stat.st_dev}:{stat.st_ino}".encode()

    def _open(self) -> sqlite3.Connection:
        try:
            damaged, self._damaged = self._damaged, False
            return self._open_file(self._set_aside("damaged") if damaged else "")
        except (sqlite3.DatabaseError, StoreCorruptError) as error:
            if not self._create or not _is_damage(error):
                raise
            return self._open_file(self._set_aside("damaged"))

    def _set_aside(self, why: str) -> str:
        """Move a database that cannot be read out of the way; what is said of it in the first event."""
        aside = self.path.with_name(
            f"{self.path.name}.{why}"
        )  # one at most of each sort, so that it is bounded
        for end in ("", "-journal"):
            with suppress(OSError):
                os.replace(f"{self.path}{end}", f"{aside}{end}")
        logger.warning(
            "the database %s is %s; it was moved to %s and a fresh one begun", self.path, why, aside
        )
        return f"database {why}, moved to {aside.name}"

    def _open_file(self, reason: str) -> sqlite3.Connection:
        exists = self.path.exists() and self.path.stat().st_size > 0
        if not exists and not self._create:
            raise StoreError(
                f"there is no database at {self.path}; start the monitor once, or name its config"
            )
        if not exists:
            self._create_file()
        connection = sqlite3.connect(
            f"file:{_quoted(self.path)}?mode=rw",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            if exists and _is_of_version_0_1(connection) and self._create:
                connection.close()
                return self._open_file(self._set_aside("v0.1"))
            _configure(connection, fresh=not exists, max_bytes=self.max_bytes)
            self._pid = os.getpid()
            if self._create:
                self._prepare(connection, reason)
            self._read_names(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _create_file(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Created by us, not by SQLite, so that it is never readable by others, not even for a moment.
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise StoreError(
                f"cannot create the database {self.path}: {error.strerror}; "
                "set storage.sqlite_path to a folder this user may write to"
            ) from error

    def _prepare(self, connection: sqlite3.Connection, reason: str) -> None:
        """Migrate, and begin a generation where this boot, this file or this device has none yet."""
        file = self._file = self._identity()
        connection.execute("BEGIN IMMEDIATE")
        schema.migrate(connection)
        tx = Transaction(self, connection)
        reason = reason or self._reason_for_generation(tx, file)
        if reason:
            tx.put("file", file)
            tx.begin_generation(reason, self._wanted_id or tx.device_id or self._default_id())
            tx.write_sequences()
        connection.execute("COMMIT")

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

    def _read_names(self, connection: sqlite3.Connection) -> None:
        row = connection.execute(
            "SELECT name, device_id FROM generations ORDER BY number DESC LIMIT 1"
        ).fetchone()
        self.generation, self.device_id = row or ("", self._wanted_id)


def _configure(connection: sqlite3.Connection, *, fresh: bool, max_bytes: int) -> None:
    execute = connection.execute
    execute("PRAGMA trusted_schema = OFF")
    execute("PRAGMA secure_delete = OFF")  # on in Debian: deleting would write every page once more
    execute("PRAGMA temp_store = MEMORY")
    if fresh:
        execute(f"PRAGMA page_size = {PAGE_SIZE}")
        execute("PRAGMA auto_vacuum = INCREMENTAL")
        execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    elif execute("PRAGMA application_id").fetchone()[0] != schema.APPLICATION_ID:
        raise StoreError("the file is a database of another program; set storage.sqlite_path to a new file")
    execute("PRAGMA journal_mode = PERSIST")
    execute(f"PRAGMA journal_size_limit = {4 * RESERVE_BYTES}")
    execute("PRAGMA synchronous = FULL")
    page_size: int = execute("PRAGMA page_size").fetchone()[0]
    pages: int = execute("PRAGMA page_count").fetchone()[0]
    execute(f"PRAGMA max_page_count = {max(pages, (max_bytes - 2 * RESERVE_BYTES) // page_size, 64)}")
    if fresh:
        _reserve(connection)


def _is_of_version_0_1(connection: sqlite3.Connection) -> bool:
    names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return not names.isdisjoint({"model_inputs", "model_outputs", "telemetry_batches"})


def _is_damage(error: Exception) -> bool:
    return (
        isinstance(_explained(error, Path()), StoreCorruptError) if isinstance(error, sqlite3.Error) else True
    )


def _reserve(connection: sqlite3.Connection) -> None:
    """Leave free pages in the file and space in the journal, so that a full disk still lets us delete."""
    connection.execute("CREATE TABLE reserve (bytes BLOB)")
    connection.execute(f"INSERT INTO reserve VALUES (zeroblob({RESERVE_BYTES}))")
    connection.execute(f"UPDATE reserve SET bytes = randomblob({RESERVE_BYTES})")
    connection.execute("DROP TABLE reserve")


def _check_kind(kind: str) -> None:
    if kind not in schema.KINDS:
        raise ValueError(f"unknown kind '{kind}'; known: {', '.join(schema.KINDS)}")


def _matches(record: Any, model: str | None, source: str | None) -> bool:
    return (model is None or getattr(record, "model", None) == model) and (
        source is None or getattr(record, "source", None) == source
    )


def _quoted(path: Path) -> str:
    from urllib.parse import quote

    return quote(str(path.absolute()))


def _explained(error: sqlite3.Error, path: Path) -> StoreError:
    text = str(error)
    if "full" in text or "disk I/O error" in text:
        return StoreFullError(
            f"no space for the database {path} ({text}); free disk space or lower storage.max_sqlite_size_mb"
        )
    if "malformed" in text or "not a database" in text or "corrupt" in text:
        return StoreCorruptError(
            f"the database {path} is damaged ({text}); move it away, and a fresh one is begun"
        )
    if "locked" in text or "busy" in text:
        return StoreError(f"the database {path} is held by another process ({text}); it is tried again")
    return StoreError(f"the database {path} cannot be used: {text}; see `edge-mlops-monitor check`")


__all__ = ["SEQ_MASK", "Store", "Transaction"]
