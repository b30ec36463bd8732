"""What a config amounts to: the sink behind `storage`, and the keys that change nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edge_mlops_monitor.config.sections import Storage

if TYPE_CHECKING:
    from edge_mlops_monitor.config import Config

SINK_KEYS = {
    "s3": ("bucket", "prefix", "region", "endpoint_url", "access_key_id", "secret_access_key"),
    "file": ("path", "prefix"),
}


def sink_of_storage(storage: Storage) -> dict[str, dict[str, Any]]:
    """The sink that `storage` is the short form of, named after its type; none for sqlite."""
    if storage.type not in SINK_KEYS:
        return {}
    keywords = {key: storage[key] for key in SINK_KEYS[storage.type] if storage[key]}
    return {storage.type: {"type": storage.type, **keywords}}


def idle_keys(config: Config) -> Iterator[tuple[str, str]]:
    """Pairs of dotted key and why it changes nothing in this config, set or not."""
    if not config.enabled:
        yield from (
            (f"{name}.{key}", "enabled is false") for name in config for key in _keys_in(config[name])
        )
        return
    yield from _idle_storage(config.storage)
    yield from _idle_drift(config)
    yield from _idle_logging(config)
    yield from _idle_telemetry(config)


def _keys_in(section: Any) -> tuple[str, ...]:
    return tuple(section.keys()) if hasattr(section, "to_dict") else ()


def _idle_storage(storage: Storage) -> Iterator[tuple[str, str]]:
    used = SINK_KEYS.get(storage.type, ())
    for keys in SINK_KEYS.values():
        for key in keys:
            if key not in used:
                yield f"storage.{key}", f"storage.type is {storage.type}"


def _idle_drift(config: Config) -> Iterator[tuple[str, str]]:
    drift = config.drift_detection
    if drift.algorithm == "ks_test":
        for key in ("false_alarms_per_month", "average_run_length", "minimum_effect", "context"):
            yield f"drift_detection.{key}", "algorithm is ks_test, which goes by threshold alone"
    else:
        yield "drift_detection.threshold", "algorithm is e_detector, which goes by the budget of false alarms"
        yield "drift_detection.check_frequency", "algorithm is e_detector, which looks at every prediction"
        if drift.average_run_length is not None:
            yield "drift_detection.false_alarms_per_month", "average_run_length takes its place"


def _idle_logging(config: Config) -> Iterator[tuple[str, str]]:
    logging = config.model_logging
    if "hash" not in logging.redact.values():
        yield "model_logging.redact_key", "nothing is redacted by hash"


def _idle_telemetry(config: Config) -> Iterator[tuple[str, str]]:
    if not config.effective_sinks():
        for key in config.telemetry:
            yield f"telemetry.{key}", "nothing is uploaded, because storage.type is sqlite and sinks is empty"
    elif config.telemetry.retry_base_delay_seconds > config.telemetry.retry_max_delay_seconds:
        yield (
            "telemetry.retry_base_delay_seconds",
            "it is above retry_max_delay_seconds, which bounds every wait",
        )
