"""The configuration: what can be set, its default and its bounds; load, check, mask.

`load_config` reads a file, the environment over it, and reports every mistake at once. A `Config`
never changes; its secrets are masked wherever it is shown.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from edge_mlops_monitor.config.masking import masked as mask
from edge_mlops_monitor.config.reading import find_config, overrides, read_file, state_directory
from edge_mlops_monitor.config.sections import (
    DriftDetection,
    ModelLogging,
    Section,
    Storage,
    System,
    Telemetry,
)
from edge_mlops_monitor.errors import ConfigError

__all__ = ["Config", "ConfigError", "find_config", "load_config", "save_default_config", "state_directory"]

SECTIONS: dict[str, type[Section]] = {
    "system": System,
    "model_logging": ModelLogging,
    "drift_detection": DriftDetection,
    "telemetry": Telemetry,
    "storage": Storage,
}
Sinks = dict[str, dict[str, Any]]


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A checked configuration: sections as attributes, `config["section"]["key"]` as in 0.1.1 works too.

    `path` is the file it came from, `given` the dotted keys that were set rather than defaults.

    >>> config = Config.from_dict({"system": {"sampling_interval_seconds": 2}})
    >>> config.system.sampling_interval_seconds, config["telemetry"]["retry_max_attempts"]
    (2.0, 5)
    >>> Config.from_dict({"system": {"sampling_intervall_seconds": 2}})
    Traceback (most recent call last):
    edge_mlops_monitor.errors.ConfigError: unknown key 'sampling_intervall_seconds' in system; did you ...
    """

    enabled: bool = True
    device_id: str = ""
    system: System = System()
    model_logging: ModelLogging = ModelLogging()
    drift_detection: DriftDetection = DriftDetection()
    telemetry: Telemetry = Telemetry()
    storage: Storage = Storage()
    sinks: Sinks = {}
    path: Path | None = None
    given: frozenset[str] = frozenset()

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any], where: str = "", path: Path | None = None) -> Config:
        """Check `mapping`; raises ConfigError with every mistake. `where` begins the message.

        Relative paths are relative to the folder of `path`, without one to the working directory;
        the default database then lives in `state_directory()`.
        """
        if not isinstance(mapping, Mapping):
            raise ConfigError(f"a config is a mapping of sections, not {type(mapping).__name__}", where)
        return _build(dict(mapping), where, path, {})

    def to_dict(self, masked: bool = True) -> dict[str, Any]:
        """The whole config as plain dicts, secrets as `***` unless `masked` is False."""
        plain: dict[str, Any] = {"enabled": self.enabled, "device_id": self.device_id}
        plain |= {name: self[name].to_dict(masked) for name in SECTIONS}
        plain["sinks"] = (
            mask(self.sinks) if masked else {name: dict(sink) for name, sink in self.sinks.items()}
        )
        return plain

    def effective_sinks(self) -> Sinks:
        """Every sink by name with its keywords, `storage` as the sink that it is the short form of.

        >>> Config.from_dict({"storage": {"bucket": "b"}}).effective_sinks()
        {'s3': {'type': 's3', 'bucket': 'b'}}
        """
        from edge_mlops_monitor.config.effects import sink_of_storage

        return {**sink_of_storage(self.storage), **{name: dict(sink) for name, sink in self.sinks.items()}}

    def without_effect(self) -> list[str]:
        """One sentence for each key that was set and changes nothing in this config."""
        from edge_mlops_monitor.config.effects import idle_keys

        return [f"{key} has no effect: {reason}" for key, reason in idle_keys(self) if key in self.given]

    def keys(self) -> tuple[str, ...]:
        """The keys at the top."""
        return TOP

    def __getitem__(self, key: str) -> Any:
        if key in TOP:
            return getattr(self, key)
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(TOP)

    def __contains__(self, key: object) -> bool:
        return key in TOP

    def __repr__(self) -> str:
        return f"Config({self.to_dict()!r})"

    __str__ = __repr__

    def of_device(self, device_id: str) -> Config:
        """The same for a device of this id; raises ConfigError where it cannot be one."""
        from edge_mlops_monitor.identity import check_device_id

        try:
            return msgspec.structs.replace(self, device_id=check_device_id(device_id))
        except ValueError as error:
            raise ConfigError(str(error)) from None


TOP = ("enabled", "device_id", *SECTIONS, "sinks")


def load_config(config_path: str | os.PathLike[str] | None = None) -> Config:
    """Read a config file (none: the defaults) and `EDGE_MLOPS_MONITOR__SECTION__KEY` over it.

    Raises ConfigError with every mistake and its remedy, FileNotFoundError for a missing file.

    >>> load_config().telemetry.upload_interval_seconds
    300.0
    """
    if config_path is None or config_path == "":  # "" as in 0.1.1
        return _load({}, "", None)
    path = Path(os.path.abspath(os.path.expanduser(config_path)))
    return _load(read_file(path), str(path), path)


def save_default_config(output_path: str | os.PathLike[str]) -> None:
    """Write a config with every key, its default and its meaning; raises OSError where it cannot."""
    from edge_mlops_monitor.config.template import commented_config

    Path(output_path).write_text(commented_config(), encoding="utf-8")


def _load(document: dict[Any, Any], where: str, path: Path | None) -> Config:
    origins: dict[str, str] = {}
    if any(name.upper().startswith("EDGE_MLOPS_MONITOR__") for name in os.environ):
        origins = overrides(os.environ, document, _text_keys())
    return _build(document, where, path, origins)


def _text_keys() -> set[str]:
    keys = {f"{name}.{key}" for name, section in SECTIONS.items() for key in section.__struct_fields__}
    return {"device_id"} | {key for key in keys if isinstance(_default(key), str)}


def _default(dotted: str) -> Any:
    section, _, key = dotted.partition(".")
    return getattr(SECTIONS[section](), key)


def _build(document: dict[Any, Any], where: str, path: Path | None, origins: dict[str, str]) -> Config:
    from edge_mlops_monitor.config.building import Builder

    builder = Builder(SECTIONS, TOP, path, origins)
    values = builder.build(document)
    if builder.mistakes:
        raise ConfigError(builder.mistakes, where)
    return Config(**values, path=path, given=frozenset(builder.given))
