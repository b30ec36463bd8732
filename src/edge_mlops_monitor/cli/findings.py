"""What `check` looks at, one function for each subject; nothing is created or changed."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edge_mlops_monitor.clock import Clock
from edge_mlops_monitor.errors import EdgeMonitorError, MissingExtraError, StoreError

if TYPE_CHECKING:
    from edge_mlops_monitor.config import Config

SINK_SECONDS = 30.0  # a sink that has not answered by then is not reachable in practice
EXTRAS = {
    "s3": ("obstore", "uploads to S3"),
    "parquet": ("pyarrow", "reads Parquet in `reference build` and `replay`"),
    "plot": ("resvg_py", "draws PNG in `replay --plot`"),
}
FIXED_BRANCHES = ((3, 44, 6), (3, 50, 7))  # backports of the repair of the WAL-reset bug
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "ceph", "glusterfs"}


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at: `status` is ok, note, warning or failed."""

    subject: str
    status: str
    message: str
    remedy: str = ""

    def to_dict(self) -> dict[str, str]:
        """The finding as a plain dict."""
        return {name: getattr(self, name) for name in self.__struct_fields__}


def machine_findings(config: Config, path: Path | None, offline: bool) -> Iterator[Finding]:
    """Every finding about a config that loads, and about the machine under it."""
    yield from of_config(config, path)
    yield from of_identity(config)
    yield from of_database(Path(config.storage.sqlite_path), config.storage.max_sqlite_size_mb)
    yield from of_sqlite(sqlite3.sqlite_version_info)
    yield from of_clock(Clock())
    yield from of_reference(config)
    yield from of_extras(config)
    for name, keywords in config.effective_sinks().items():
        yield from of_sink(name, keywords, offline)


def of_config(config: Config, path: Path | None) -> Iterator[Finding]:
    """Where the config comes from, what in it does nothing, who may read its secrets."""
    if path is None:
        yield Finding(
            "config", "ok", "none found, so the defaults count", "write one with: edge-mlops-monitor init"
        )
    else:
        yield Finding("config", "ok", f"{path} is valid")
    variables = sorted(name for name in os.environ if name.upper().startswith("EDGE_MLOPS_MONITOR__"))
    if variables:
        yield Finding("config", "note", f"overridden by {', '.join(variables)}")
    disabled = os.environ.get("EDGE_MLOPS_MONITOR_DISABLED", "").lower() in ("1", "true", "yes")
    if disabled or not config.enabled:
        what = "EDGE_MLOPS_MONITOR_DISABLED is set" if disabled else "enabled is false"
        yield Finding("config", "warning", f"{what}, so nothing is recorded", "remove it to monitor")
    for sentence in config.without_effect():
        yield Finding("config", "warning", sentence, "remove the key, or change what it depends on")
    if config.storage.prefix and not config.storage.prefix.endswith("/"):
        yield Finding(
            "config",
            "warning",
            f"storage.prefix is '{config.storage.prefix}', so keys begin with '{config.storage.prefix}v1/'",
            "end it with a slash, if it is meant to be a folder",
        )
    if path is not None and config.to_dict() != config.to_dict(masked=False) and _others_may_read(path):
        yield Finding(
            "config", "warning", f"{path} holds secrets and others may read it", f"chmod 600 {path}"
        )


def _others_may_read(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False


def of_identity(config: Config) -> Iterator[Finding]:
    """Under which name the device uploads."""
    from edge_mlops_monitor.identity import default_device_id

    if config.device_id:
        yield Finding("device", "ok", f"{config.device_id} (from the config)")
        return
    if kept := _kept_id(config.storage.sqlite_path):
        yield Finding("device", "ok", f"{kept} (kept in the database)")
        return
    found = default_device_id()
    if found is not None:
        yield Finding("device", "ok", f"{found} (host name and a hash of the machine's identity)")
        return
    yield Finding(
        "device",
        "note",
        "this machine has neither a machine id nor a serial number, so a random id is kept in the database",
        "set device_id, or run systemd-machine-id-setup",
    )


def _kept_id(path: str) -> str:
    from edge_mlops_monitor.store import Store

    try:
        store = Store(path, create=False)
    except StoreError:  # there is none yet, or `of_database` says what is wrong with it
        return ""
    store.close()
    return store.device_id


def of_database(path: Path, max_mb: float) -> Iterator[Finding]:
    """Whether the database is there or can be created, is ours, private, and has room to grow."""
    folder = next((parent for parent in path.parents if parent.exists()), Path("/"))
    if path.exists():
        yield _existing_database(path)
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield Finding(
            "database",
            "failed",
            f"{path} cannot be created: this user may not write to {folder}",
            "set storage.sqlite_path to a folder that this user may write to, or run as another user",
        )
        return
    else:
        yield Finding("database", "ok", f"{path} will be created when it is first written to")
    yield from _disk(path, folder, max_mb)


def _existing_database(path: Path) -> Finding:
    from edge_mlops_monitor.store import Store

    try:
        store = Store(path, create=False)
        stored = sum(store.counts().values())
        store.close()
    except StoreError as error:
        message, _, remedy = str(error).partition("; ")
        return Finding("database", "failed", message, remedy)
    if not os.access(path, os.W_OK):
        return Finding(
            "database", "failed", f"{path} is not writable for this user", "run as the user who owns it"
        )
    if path.stat().st_mode & 0o077:
        return Finding("database", "warning", f"others may read {path}", f"chmod 600 {path}")
    return Finding("database", "ok", f"{path} holds {stored:,} records".replace(",", " "))


def _disk(path: Path, folder: Path, max_mb: float) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free / 1e6
    used = path.stat().st_size / 1e6 if path.exists() else 0.0
    # The journal and the reserve come on top of the bound; 10 % is what they took at most.
    needed = max(0.0, max_mb * 1.1 - used)
    if free < needed:
        yield Finding(
            "disk",
            "warning",
            f"{free:.0f} MB are free and the database may grow by {needed:.0f} MB",
            "free space, or lower storage.max_sqlite_size_mb",
        )
    else:
        yield Finding("disk", "ok", f"{free:.0f} MB free, {needed:.0f} MB may be needed")
    kind = _file_system(folder)
    if kind in ("tmpfs", "ramfs"):
        yield Finding(
            "disk",
            "warning",
            f"{folder} is kept in memory ({kind}), so what is stored is gone after a reboot",
            "set storage.sqlite_path to a disk, unless this is what you want",
        )
    elif kind in NETWORK:
        yield Finding(
            "disk",
            "warning",
            f"{folder} is on the network ({kind}), where SQLite's locks cannot be relied on",
            "set storage.sqlite_path to a local disk",
        )


def _file_system(folder: Path, mounts: str = "/proc/mounts") -> str:
    """The type of the file system that holds `folder`; empty where it cannot be told."""
    best, kind = "", ""
    try:
        lines = Path(mounts).read_text(errors="replace").splitlines()
    except OSError:
        return ""
    target = str(folder.resolve())
    for line in lines:
        fields = line.split()
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ")
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def of_sqlite(version: tuple[int, ...]) -> Iterator[Finding]:
    """The SQLite that Python was built with."""
    text = ".".join(map(str, version))
    if version < (3, 31):
        yield Finding(
            "sqlite", "failed", f"SQLite {text} is too old", "use a Python with SQLite 3.31 or later"
        )
        return
    fixed = version >= (3, 51, 3) or any(branch <= version < (*branch[:2], 99) for branch in FIXED_BRANCHES)
    note = "" if fixed else "; its WAL can lose commits, so a rollback journal is used, which cannot"
    yield Finding("sqlite", "ok", f"SQLite {text}{note}")


def of_clock(clock: Clock) -> Iterator[Finding]:
    """Whether the wall clock can be believed."""
    synchronised = clock.is_synchronised()
    if synchronised:
        yield Finding("clock", "ok", "synchronised")
    elif synchronised is None:
        yield Finding("clock", "note", "this system does not say whether its clock is synchronised")
    else:
        yield Finding(
            "clock",
            "warning",
            "not synchronised; times may be wrong, and records say so (clock_synced: false)",
            "turn on a time service: timedatectl set-ntp true, or chrony",
        )


def of_reference(config: Config) -> Iterator[Finding]:
    """The reference that decisions start from."""
    path = config.drift_detection.reference_data_path
    if not path:
        settings = config.drift_detection
        yield Finding(
            "reference",
            "note",
            f"none given; each stream learns its own from {settings.learn_reference} predictions "
            f"and at least {settings.learn_reference_hours:g} hours, without alarms before",
            "give one: edge-mlops-monitor reference build training.csv -o reference.json",
        )
        return
    from edge_mlops_monitor.drift import reference_file

    try:
        features = reference_file.load(path)
    except EdgeMonitorError as error:
        message, _, remedy = str(error).rpartition("; ")
        yield Finding("reference", "failed", message, remedy)
        return
    yield Finding("reference", "ok", f"{path} holds {len(features)} features")
    for feature in features:
        if feature.lacks:
            message, _, remedy = feature.lacks.rpartition("; ")
            yield Finding("reference", "warning", f"{feature.name}: {message}", remedy)


def of_extras(config: Config) -> Iterator[Finding]:
    """The optional parts of the package; a sink that needs a missing one is reported with the sink."""
    for extra, (module, purpose) in EXTRAS.items():
        if find_spec(module) is not None:
            yield Finding("extras", "ok", f"{extra} is installed: {purpose}")
        else:
            install = f"if you need it: pip install 'edge-mlops-monitor[{extra}]'"
            yield Finding("extras", "note", f"{extra} is not installed: {purpose}", install)


def of_sink(name: str, keywords: dict[str, Any], offline: bool) -> Iterator[Finding]:
    """Whether a sink can be built from its keywords, and answers."""
    from edge_mlops_monitor.telemetry.sinks import SINKS

    subject = f"sink {name}"
    rest = {key: value for key, value in keywords.items() if key != "type"}
    try:
        sink = SINKS[keywords["type"]](**rest)
    except MissingExtraError as error:
        message, _, remedy = str(error).partition("; ")
        yield Finding(subject, "failed", message, remedy)
        return
    except (EdgeMonitorError, ValueError, TypeError) as error:
        message, _, remedy = _of_constructor(error).partition("; ")
        yield Finding(subject, "failed", message, remedy)
        return
    if offline:
        yield Finding(subject, "ok", "its settings are valid; it was not asked, since --offline was given")
        return
    complaints = _asked(sink)
    for sentence in complaints:
        message, _, remedy = sentence.partition("; ")
        remedy = remedy or "check the network and the address; meanwhile everything is kept on the device"
        yield Finding(subject, "failed", message, remedy)
    if not complaints:
        yield Finding(subject, "ok", "it can be reached")


def _of_constructor(error: Exception) -> str:
    """A sink's constructor keywords are its config keys, so Python's own words are turned into ours."""
    text = str(error)
    if isinstance(error, TypeError) and "'" in text:
        key = text.split("'")[1]
        if "unexpected keyword" in text:
            return f"it has no key '{key}'; remove it, or see docs/configuration.md for the keys it takes"
        if "missing" in text:
            return f"it needs the key '{key}'; add it"
    return text


def _asked(sink: Any) -> list[str]:
    """The sink's own findings, within a bounded time."""
    found: list[str] = []

    def ask() -> None:
        try:
            found.extend(sink.check())
        except Exception as error:
            found.append(f"{type(error).__name__}: {error}; check its settings")

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(SINK_SECONDS)
    if thread.is_alive():
        return [f"no answer within {SINK_SECONDS:.0f} s; check the network and the address"]
    return found
