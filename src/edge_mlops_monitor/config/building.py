"""Builds the checked values of a config out of a mapping, and collects every mistake on the way."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_mlops_monitor.config.checking import convert, declared, is_text, shown, unknown
from edge_mlops_monitor.config.effects import sink_of_storage
from edge_mlops_monitor.config.reading import INIT, state_directory
from edge_mlops_monitor.config.sections import Section, Storage
from edge_mlops_monitor.identity import check_device_id

PATHS = {"storage.sqlite_path", "storage.path", "drift_detection.reference_data_path"}
_SINK_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
DEEPEST = 4  # of a sink's values: deeper is no setting, and YAML aliases could make it endless


class Builder:
    """One pass over a document; afterwards `mistakes` and `given` are complete."""

    def __init__(
        self,
        sections: dict[str, type[Section]],
        top: tuple[str, ...],
        path: Path | None,
        origins: dict[str, str],
    ) -> None:
        self.sections = sections
        self.top = top
        self.path = path
        self.origins = origins
        self.mistakes: list[str] = []
        self.given: set[str] = set()

    def build(self, document: dict[Any, Any]) -> dict[str, Any]:
        """The keyword arguments of a Config."""
        if document and not any(key in self.top for key in document) and len(document) > 1:
            names = ", ".join(shown(key).strip("'") for key in list(document)[:4])
            self.mistakes.append(f"this is the config of another program (it has {names}); {INIT}")
            return {}
        for key in document:
            if key not in self.top:
                self._mistake(str_key(key), unknown(str_key(key), "", self.sections, list(self.top)))
        values: dict[str, Any] = {name: self._section(name, document.get(name)) for name in self.sections}
        values["enabled"] = self._enabled(document.get("enabled"))
        values["device_id"] = self._device_id(document.get("device_id"))
        values["sinks"] = self._sinks(document.get("sinks"))
        if not self.mistakes:
            self._names_apart(values["storage"], values["sinks"])
        return values

    def _section(self, name: str, content: Any) -> Section:
        cls = self.sections[name]
        content = {} if content is None else content
        if not isinstance(content, Mapping):
            keys = cls.__struct_fields__
            self.mistakes.append(f"{name} is {shown(content)}; it is a section, with keys such as {keys[0]}")
            content = {}
        defaults = cls()
        values: dict[str, Any] = {}
        for key in content:
            if key not in cls.__struct_fields__:
                self._unknown(name, str_key(key))
        for key, annotation in declared(cls).items():
            default = getattr(defaults, key)
            values[key] = self._value(f"{name}.{key}", content.get(key), annotation, default)
        if name == "storage":
            self._complete_storage(values)
        return cls(**values)

    def _value(self, dotted: str, value: Any, annotation: Any, default: Any) -> Any:
        # An empty key (`bucket:`) is the default; numbers get the type that the key declares.
        if value is not None:
            self.given.add(dotted)
        try:
            found = convert(default if value is None else value, annotation, dotted, default)
        except ValueError as error:
            self._mistake(dotted, str(error))
            return default
        if dotted in PATHS and found:
            return self._absolute(found, is_default=value is None)
        return found

    def _unknown(self, section: str, key: str) -> None:
        self._mistake(f"{section}.{key}", unknown(key, section, self.sections, list(self.top)))

    def _mistake(self, dotted: str, sentence: str) -> None:
        origin = next((self.origins[key] for key in self.origins if f"{key}.".startswith(f"{dotted}.")), None)
        self.mistakes.append(f"{sentence} (from {origin})" if origin else sentence)

    def _absolute(self, path: str, is_default: bool = False) -> str:
        if self.path is not None:
            base: str | Path = Path(os.path.abspath(self.path)).parent
        else:
            base = state_directory() if is_default else os.getcwd()
        return os.path.join(base, os.path.expanduser(path))

    def _complete_storage(self, values: dict[str, Any]) -> None:
        """A bucket without a type means s3, as in 0.1.1; a type needs what it works on."""
        if values["bucket"] and "storage.type" not in self.given:
            values["type"] = "s3"
        if values["type"] == "s3" and not values["bucket"]:
            self._mistake(
                "storage.bucket",
                "storage.type is s3 and storage.bucket is empty; name the bucket or use type: sqlite",
            )
        if values["type"] == "file" and not values["path"]:
            self._mistake(
                "storage.path",
                "storage.type is file and storage.path is empty; name the folder or use type: sqlite",
            )
        if bool(values["access_key_id"]) != bool(values["secret_access_key"]):
            self._mistake(
                "storage.access_key_id",
                "storage.access_key_id and storage.secret_access_key belong together; give both or neither",
            )

    def _enabled(self, value: Any) -> bool:
        if value is None or isinstance(value, bool):
            return True if value is None else value
        self._mistake("enabled", f"enabled is {shown(value)}; use true or false")
        return True

    def _device_id(self, value: Any) -> str:
        if value is None or value == "":
            return ""
        if not isinstance(value, str):
            self._mistake("device_id", f"device_id is {shown(value)}; write it in quotes")
            return ""
        try:
            return check_device_id(value)
        except ValueError as error:
            self._mistake("device_id", str(error))
            return ""

    def _sinks(self, content: Any) -> dict[str, dict[str, Any]]:
        if content is None:
            return {}
        if not isinstance(content, Mapping):
            self._mistake(
                "sinks", f"sinks is {shown(content)}; it maps a name to a sink: {{cloud: {{type: s3}}}}"
            )
            return {}
        found = {}
        for name, sink in content.items():
            complaint = self._complaint(name, sink)
            if complaint:
                self.mistakes.append(complaint)
            else:
                found[name] = self._sink(sink)
        return found

    def _complaint(self, name: Any, sink: Any) -> str:
        if not isinstance(name, str) or not _SINK_NAME.match(name):
            return f"{shown(name)} is no name for a sink; use letters, digits, '.', '_' and '-', at most 64"
        if not isinstance(sink, Mapping) or not isinstance(sink.get("type"), str):
            return f"sinks.{name} has no type; give it one, for example type: s3"
        for key, value in sink.items():
            if not isinstance(key, str) or not key.isidentifier():
                return f"sinks.{name} has the key {shown(key)}, which is no name of a setting; remove it"
            if not _plain(value, DEEPEST):
                return (
                    f"sinks.{name}.{key} holds something that is no text, number, list or mapping; remove it"
                )
        return ""

    def _sink(self, sink: Mapping[str, Any]) -> dict[str, Any]:
        values = dict(sink)
        if values["type"] == "file" and isinstance(values.get("path"), str):
            values["path"] = self._absolute(values["path"])
        return values

    def _names_apart(self, storage: Storage, sinks: dict[str, Any]) -> None:
        for name in sink_of_storage(storage):
            if name in sinks:
                self.mistakes.append(f"storage is already the sink '{name}'; give sinks.{name} another name")


def str_key(key: Any) -> str:
    """A key as text, whatever the document used as one."""
    return key if isinstance(key, str) else shown(key)


def _plain(value: Any, depth: int) -> bool:
    if value is None or isinstance(value, (bool, int, float)):
        return True
    if isinstance(value, str):
        return is_text(value)
    if depth == 0:
        return False
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _plain(item, depth - 1) for key, item in value.items())
    return isinstance(value, list) and all(_plain(item, depth - 1) for item in value)
