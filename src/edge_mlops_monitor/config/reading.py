"""Turns a file, a mapping and the environment into one mapping, with every mistake named."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_mlops_monitor.config.masking import is_secret
from edge_mlops_monitor.errors import ConfigError

PREFIX = "EDGE_MLOPS_MONITOR__"
MOST_BYTES = 256 * 1024  # a config has a few hundred lines; a larger file is something else
INIT = "write a fresh one with: edge-mlops-monitor init"


def read_file(path: Path) -> dict[Any, Any]:
    """The mapping in a YAML file; ConfigError in one sentence, FileNotFoundError where there is none."""
    where = str(path)
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no config file {path}; {INIT}") from None
    except IsADirectoryError:
        raise ConfigError("this is a folder, not a file; name the YAML file in it", where) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"the file cannot be read ({reason}); check its permissions", where) from None
    if len(content) > MOST_BYTES:
        raise ConfigError(
            f"the file is larger than {MOST_BYTES // 1024} KiB, so it is no config; {INIT}", where
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"byte {error.start} is not UTF-8, so this is no YAML file; {INIT}", where
        ) from None
    found = parse(text, where)
    if found is None:
        return {}
    if not isinstance(found, dict):
        kind = (
            "a list" if isinstance(found, list) else "a text" if isinstance(found, str) else "a single value"
        )
        raise ConfigError(f"the file holds {kind}, not a mapping of sections; {INIT}", where)
    return found


def parse(text: str, where: str = "") -> Any:
    """YAML as plain values; ConfigError with line and column."""
    import yaml

    from edge_mlops_monitor.config.yaml_loader import StrictLoader

    try:
        return yaml.load(text, StrictLoader)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_place(error), where) from None
    except RecursionError:
        raise ConfigError(f"the file is nested too deeply to be a config; {INIT}", where) from None
    except (yaml.YAMLError, ValueError, OverflowError, TypeError, KeyError):
        raise ConfigError(
            f"the file holds characters or values that YAML does not have; {INIT}", where
        ) from None


def _place(error: Any) -> str:
    """Where YAML stopped and why, without quoting the file: what is quoted may be a secret."""
    mark = error.problem_mark or error.context_mark
    problem = " ".join(
        word if len(word) <= 5 or "'" not in word else "'...'" for word in _words(error.problem)
    )
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{place}this is not valid YAML ({problem}); check quotes and indentation there"


def _words(problem: str | None) -> list[str]:
    return (problem or "broken").split()


def overrides(environ: Mapping[str, str], document: dict[str, Any], text_keys: set[str]) -> dict[str, str]:
    """Lay `EDGE_MLOPS_MONITOR__SECTION__KEY` over `document`; returns {dotted key: variable}.

    Values are read as YAML, except where text is wanted (`text_keys`) and for secrets: a password
    of digits stays a text.
    """
    origins: dict[str, str] = {}
    for variable in sorted(environ):
        if not variable.upper().startswith(PREFIX):
            continue
        parts = [part.lower() for part in variable[len(PREFIX) :].split("__")]
        if not all(parts) or len(parts) > 4:
            raise ConfigError(f"{variable} names no key; spell it {PREFIX}SECTION__KEY")
        dotted = ".".join(parts)
        value = environ[variable]
        plain_text = dotted in text_keys or is_secret(parts[-1])
        _lay(document, parts, value if plain_text else _value(value, variable))
        origins[dotted] = variable
    return origins


def _value(text: str, variable: str) -> Any:
    try:
        return parse(text)
    except ConfigError:
        raise ConfigError(f"{variable} is not a YAML value; put it in quotes") from None


def _lay(document: dict[str, Any], parts: list[str], value: Any) -> None:
    place = document
    for part in parts[:-1]:
        name = next((key for key in place if isinstance(key, str) and key.lower() == part), part)
        inner = place.get(name)
        place[name] = inner = dict(inner) if isinstance(inner, dict) else {}
        place = inner
    last = next((key for key in place if isinstance(key, str) and key.lower() == parts[-1]), parts[-1])
    place[last] = value


def state_directory(environ: Mapping[str, str] | None = None) -> Path:
    """Where the database lives without a config file: `$STATE_DIRECTORY` (systemd), else the XDG folder.

    >>> state_directory({"STATE_DIRECTORY": "/var/lib/edge-mlops-monitor"}).as_posix()
    '/var/lib/edge-mlops-monitor'
    """
    environ = os.environ if environ is None else environ
    given = environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    return _xdg(environ, "XDG_STATE_HOME", ".local/state")


def find_config(environ: Mapping[str, str] | None = None) -> Path | None:
    """The config file that commands use where none is named, or None.

    Looked for in `EDGE_MLOPS_MONITOR_CONFIG` (taken even where it does not exist, so that the
    mistake is seen), `./edge-mlops-monitor.yaml`, the XDG config folder, `/etc`.
    """
    environ = os.environ if environ is None else environ
    named = environ.get("EDGE_MLOPS_MONITOR_CONFIG")
    if named:
        return Path(named)
    places = [
        Path("edge-mlops-monitor.yaml"),
        _xdg(environ, "XDG_CONFIG_HOME", ".config") / "config.yaml",
        Path("/etc/edge-mlops-monitor/config.yaml"),
    ]
    return next((place for place in places if os.path.isfile(place)), None)


def _xdg(environ: Mapping[str, str], variable: str, under_home: str) -> Path:
    given = environ.get(variable, "")
    if os.path.isabs(given):  # the XDG specification: a relative one is to be ignored
        return Path(given) / "edge-mlops-monitor"
    home = environ.get("HOME") or os.path.expanduser("~")
    if not os.path.isabs(home):  # no HOME and no entry in the user database, as in some containers
        return Path(f"/var/tmp/edge-mlops-monitor-{os.getuid()}")
    return Path(home) / under_home / "edge-mlops-monitor"
