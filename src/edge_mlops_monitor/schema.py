"""The tables of the database, as numbered migrations.

A database carries the number of the last migration applied in `PRAGMA user_version`. Migrations are
only ever added; each runs in one transaction, so a crash in the middle leaves the older version.
"""

from __future__ import annotations

import sqlite3

from edge_mlops_monitor.errors import StoreTooNewError

APPLICATION_ID = 0x454D4F4E  # "EMON": tells our databases from those of other programs

# One table for each kind of record. A row is a block of many records; its key is
# generation << 40 | last sequence number, so that keys order by generation, then by sequence.
_BLOCKS = """
CREATE TABLE {kind} (
    key INTEGER PRIMARY KEY,
    first_seq INTEGER NOT NULL,
    records INTEGER NOT NULL,
    session TEXT,
    first_n INTEGER,
    last_n INTEGER,
    first_ts REAL NOT NULL,
    last_ts REAL NOT NULL,
    synced INTEGER,
    payload BLOB NOT NULL
)"""

_TABLES = """
CREATE TABLE generations (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    device_id TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    began REAL NOT NULL,
    reason TEXT NOT NULL
);
CREATE TABLE sequences (
    kind TEXT PRIMARY KEY,
    last_seq INTEGER NOT NULL DEFAULT 0,
    sealed INTEGER NOT NULL DEFAULT 0,
    stored INTEGER NOT NULL DEFAULT 0,
    removed INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE losses (
    reason TEXT PRIMARY KEY,
    records INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE state (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
);
CREATE TABLE leases (
    role TEXT PRIMARY KEY,
    pid INTEGER NOT NULL,
    started TEXT NOT NULL,
    namespace TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    renewed REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE caller_ids (
    id TEXT PRIMARY KEY,
    key INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX caller_ids_by_key ON caller_ids (key);
CREATE TABLE objects (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    generation INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    records INTEGER NOT NULL,
    batch TEXT NOT NULL,
    content_type TEXT NOT NULL,
    size INTEGER NOT NULL,
    created REAL NOT NULL
);
CREATE TABLE bodies (
    object INTEGER PRIMARY KEY,
    body BLOB NOT NULL
);
CREATE TABLE deliveries (
    sink TEXT NOT NULL,
    object INTEGER NOT NULL,
    dead TEXT,
    PRIMARY KEY (sink, object)
) WITHOUT ROWID;
"""

KINDS = ("predictions", "actuals", "system", "drift", "profiles", "events")


def _first(connection: sqlite3.Connection) -> None:
    for statement in _TABLES.split(";"):
        connection.execute(statement)
    for kind in ("predictions", "actuals", "system", "drift", "events"):
        _add_kind(connection, kind)


def _profiles(connection: sqlite3.Connection) -> None:
    _add_kind(connection, "profiles")


def _add_kind(connection: sqlite3.Connection, kind: str) -> None:
    connection.execute(_BLOCKS.format(kind=kind))
    connection.execute("INSERT INTO sequences (kind) VALUES (?)", (kind,))


MIGRATIONS = (_first, _profiles)
VERSION = len(MIGRATIONS)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the database to `VERSION`, inside the caller's transaction.

    Raises StoreTooNewError where a newer version of the package wrote it.
    """
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise StoreTooNewError(
            f"the database has version {version}, this release knows up to {VERSION}; "
            "upgrade edge-mlops-monitor, or set storage.sqlite_path to another file"
        )
    for number in range(version, VERSION):
        MIGRATIONS[number](connection)
        connection.execute(f"PRAGMA user_version = {number + 1}")
