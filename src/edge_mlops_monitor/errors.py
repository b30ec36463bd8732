"""Every exception of the package, with the tree drawn first.

EdgeMonitorError
├── ConfigError          (ValueError)   the configuration is wrong; lists every mistake
├── DataError            (ValueError)   a file or values handed in cannot be used
├── UnknownNameError     (ValueError)   no such method, sink, collector
├── MissingExtraError    (ImportError)  an optional dependency is not installed
└── StoreError           (OSError)      the database on the device cannot be used
    ├── StoreFullError                  no space is left for it
    ├── StoreCorruptError               it is damaged
    └── StoreTooNewError                a newer version of the package wrote it

Each message is one sentence or a list of them, and ends with the way out. Logging calls never
raise any of these: see `edge_mlops_monitor.monitor`.
"""

from __future__ import annotations


class EdgeMonitorError(Exception):
    """Anything this package raises on purpose."""


class ConfigError(EdgeMonitorError, ValueError):
    """The configuration cannot be used; `mistakes` holds one sentence for each reason."""

    def __init__(self, mistakes: str | list[str], where: str = "") -> None:
        self.mistakes = [mistakes] if isinstance(mistakes, str) else list(mistakes)
        prefix = f"{where}: " if where else ""
        if len(self.mistakes) == 1:
            text = prefix + self.mistakes[0]
        else:
            text = f"{prefix}{len(self.mistakes)} mistakes\n" + "\n".join(f"  - {m}" for m in self.mistakes)
        super().__init__(text)


class DataError(EdgeMonitorError, ValueError):
    """A file, reference or array handed in cannot be used."""


class UnknownNameError(EdgeMonitorError, ValueError):
    """No registered part has this name; the message lists those that exist."""


class MissingExtraError(EdgeMonitorError, ImportError):
    """An optional dependency is not installed; the message holds the pip command."""


class StoreError(EdgeMonitorError, OSError):
    """The database on the device cannot be used."""


class StoreFullError(StoreError):
    """The file system, or the bound on the database, leaves no space."""


class StoreCorruptError(StoreError):
    """The database is damaged."""


class StoreTooNewError(StoreError):
    """The database was written by a newer version of the package."""
