"""The state of the monitor, for `get_status()` and for the command that looks from outside."""

from __future__ import annotations

from typing import Any

import msgspec

from edge_mlops_monitor import leases, outbox
from edge_mlops_monitor.config import Config
from edge_mlops_monitor.errors import StoreError
from edge_mlops_monitor.schema import KINDS
from edge_mlops_monitor.store import Store
from edge_mlops_monitor.telemetry.uploader import Uploader


def read_status(config: Config) -> dict[str, Any]:
    """The state of the device's monitor, from its database; creates nothing.

    Where there is no database yet, `database.exists` is False and the counts are 0.
    """
    try:
        store = Store(config.storage.sqlite_path, create=False, has_sinks=bool(config.effective_sinks()))
    except StoreError as error:
        return {**nothing(), "database": {"exists": False, "problem": str(error)}}
    try:
        return describe(store, config)
    finally:
        store.close()


def describe(store: Store, config: Config) -> dict[str, Any]:
    """What the database knows: counts, losses, uploads, who does what."""
    uploader = Uploader(store, dict.fromkeys(config.effective_sinks(), _never), config.telemetry)
    uploads = uploader.status()
    return {
        **_counts(store.counts()),
        "pending_telemetry_batches": uploads["pending"],
        "dropped": store.losses(),
        "last_upload": uploads["last_upload"],
        "last_error": uploads["last_error"],
        "sinks": uploads["sinks"],
        "dead_letters": len(outbox.dead_letters(store)),
        "device_id": store.device_id,
        "generation": store.generation,
        "features": msgspec.json.decode(store.get("features") or b"[]"),
        "performance": msgspec.json.decode(store.get("performance") or b"{}"),
        "processes": leases.holders(store),
        "database": {
            "exists": True,
            "path": str(store.path),
            "bytes": store.file_bytes(),
            "max_bytes": int(config.storage.max_sqlite_size_mb * (1 << 20)),
        },
    }


def _counts(counts: dict[str, int]) -> dict[str, Any]:
    return {
        "prediction_count": counts["predictions"],
        "system_metrics_count": counts["system"],
        "drift_results_count": counts["drift"],
        "event_count": counts["events"],
        "actual_count": counts["actuals"],
        "profile_count": counts.get("profiles", 0),  # 0: a database not migrated yet
    }


def nothing() -> dict[str, Any]:
    """The state of a monitor of which nothing is known."""
    return {
        **_counts(dict.fromkeys(KINDS, 0)),
        "pending_telemetry_batches": 0,
        "dropped": {},
        "last_upload": None,
        "last_error": None,
        "sinks": {},
        "dead_letters": 0,
        "device_id": "",
        "generation": "",
        "features": [],
        "performance": {},
        "processes": {},
    }


def _never() -> Any:
    raise StoreError("a status does not send")
