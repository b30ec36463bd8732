"""A registry: name -> class, imported only when asked for.

An unknown name lists the known ones; a part whose extra is not installed says the pip command.
Third parties register through the entry-point group of the registry.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edge_mlops_monitor.errors import MissingExtraError, UnknownNameError


class Registry(Mapping[str, Any]):
    """Maps a name to what `"module:attribute"` points to.

    `extras` maps a name to the extra that it needs (`{"s3": "s3"}`), `group` is the entry-point
    group under which other distributions add theirs.

    >>> numbers = Registry("number", {"pi": "math:pi"})
    >>> numbers["pi"]
    3.141592653589793
    >>> numbers["pie"]
    Traceback (most recent call last):
    edge_mlops_monitor.errors.UnknownNameError: unknown number 'pie'; did you mean 'pi'? known: pi
    """

    def __init__(
        self, noun: str, paths: Mapping[str, str], *, extras: Mapping[str, str] | None = None, group: str = ""
    ) -> None:
        self.noun = noun
        self.group = group
        self._paths = dict(paths)
        self._extras = dict(extras or {})
        self._third_parties: dict[str, str] | None = None

    def __getitem__(self, name: str) -> Any:
        path = self._paths.get(name) or self._entry_points().get(name)
        if path is None:
            raise UnknownNameError(self._unknown(name))
        module, _, attribute = path.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except ImportError as error:
            if name not in self._extras:
                raise
            command = f"pip install 'edge-mlops-monitor[{self._extras[name]}]'"
            raise MissingExtraError(f"the {self.noun} '{name}' needs {error.name}; run: {command}") from error

    def __iter__(self) -> Iterator[str]:
        yield from self._paths
        yield from (name for name in self._entry_points() if name not in self._paths)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:  # Mapping's own would import the part
        return name in self._paths or name in self._entry_points()

    def extra(self, name: str) -> str | None:
        """The extra that `name` needs, if any."""
        return self._extras.get(name)

    def _unknown(self, name: str) -> str:
        from difflib import get_close_matches

        near = get_close_matches(name, list(self), n=1)
        hint = f" did you mean '{near[0]}'?" if near else ""
        return f"unknown {self.noun} '{name}';{hint} known: {', '.join(self)}"

    def _entry_points(self) -> dict[str, str]:
        if self._third_parties is None:
            self._third_parties = {}
            if self.group and _offered(self.group):
                from importlib.metadata import entry_points

                self._third_parties = {entry.name: entry.value for entry in entry_points(group=self.group)}
        return self._third_parties


def _offered(group: str) -> bool:
    """Whether any installed distribution names the group; importlib.metadata would take 3 MB to say no."""
    lists = (file for folder in sys.path for file in Path(folder).glob("*.dist-info/entry_points.txt"))
    return any(f"[{group}]" in file.read_text(encoding="utf-8", errors="replace") for file in lists)
