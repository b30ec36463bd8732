"""Checks one value, and says what is wrong with it and what to write instead."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, get_type_hints

import msgspec
import msgspec.inspect as inspect

from edge_mlops_monitor.config.masking import is_secret, masked
from edge_mlops_monitor.config.sections import Section

LEVELS = {"WARN": "WARNING", "FATAL": "CRITICAL"}


@lru_cache(maxsize=32)
def declared(section: type[msgspec.Struct]) -> dict[str, Any]:
    """The keys of a section and their annotated types, in the order of the class."""
    hints = get_type_hints(section, include_extras=True)
    return {key: hints[key] for key in section.__struct_fields__}


def convert(value: Any, annotation: Any, key: str, default: Any) -> Any:
    """`value` as the type that the key asks for; raises ValueError with the sentence for the user."""
    value = _tolerated(value, key)
    if not all(map(is_text, _texts(value))):
        raise ValueError(f"{key} holds a character that no text may hold; remove it")
    try:
        return msgspec.convert(value, annotation)
    except (msgspec.ValidationError, OverflowError, RecursionError):
        raise ValueError(_sentence(value, annotation, key, default)) from None


def is_text(value: str) -> bool:
    """Whether a text can be written as UTF-8 and handed to the system (which ends texts at NUL)."""
    return "\0" not in value and not any("\ud800" <= char <= "\udfff" for char in value)


def _texts(value: Any) -> list[str]:
    texts = [*value, *value.values()] if isinstance(value, dict) else [value]
    return [text for text in texts if isinstance(text, str)]


def _tolerated(value: Any, key: str) -> Any:
    """What means the same is taken: 100.0 for 100, `warn` for WARNING."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if key.endswith("log_level") and isinstance(value, str):
        return LEVELS.get(value.upper(), value.upper())
    return value


def _sentence(value: Any, annotation: Any, key: str, default: Any) -> str:
    wanted = allowed(annotation)
    if wanted.startswith("text") and isinstance(value, (int, float)) and not isinstance(value, bool):
        remedy = "write it in quotes"
    elif wanted.startswith("text") and isinstance(value, bool):
        remedy = "write it in quotes (YAML reads a bare yes, no, on, off as true or false)"
    else:
        remedy = f"use {wanted}" + (f" (default: {plain(default)})" if default not in ("", None, {}) else "")
    return f"{key} is {shown(value, key)}; {remedy}"


def shown(value: Any, key: str = "") -> str:
    """A value as an error message may show it: short, and never a secret."""
    if is_secret(key):
        return "of the wrong kind"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple, set)):
        return "a list"
    if value is None or isinstance(value, (bool, float)):
        return plain(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 10**20 else "a huge number"
    if isinstance(value, str):
        text = ascii(masked(value))
        return text if len(text) <= 60 else f"{text[:57]}..."
    return f"of type {type(value).__name__}"


def plain(value: Any) -> str:
    """A default or scalar in the spelling of YAML.

    >>> plain(True), plain(None), plain(10.0), plain("INFO")
    ('true', 'empty', '10', 'INFO')
    """
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"{value:.15g}"
    return str(value)


def allowed(annotation: Any) -> str:
    """What a key takes, in words.

    >>> from edge_mlops_monitor.config.sections import System, Telemetry
    >>> allowed(declared(System)["sampling_interval_seconds"])
    'a number from 0.1 to 31536000'
    >>> allowed(declared(Telemetry)["retry_max_attempts"])
    'a whole number from 1 to 1000000'
    """
    return _allowed(inspect.type_info(annotation))


def _allowed(info: inspect.Type) -> str:
    if isinstance(info, inspect.Metadata):
        return _allowed(info.type)
    if isinstance(info, inspect.UnionType):
        inner = [_allowed(part) for part in info.types if not isinstance(part, inspect.NoneType)]
        return f"{' or '.join(inner)}, or nothing"
    if isinstance(info, inspect.BoolType):
        return "true or false"
    if isinstance(info, inspect.LiteralType):
        return "one of " + ", ".join(str(value) for value in sorted(info.values, key=str))
    if isinstance(info, (inspect.IntType, inspect.FloatType)):
        return _bounds(info)
    if isinstance(info, inspect.DictType):
        return "a mapping of name patterns to drop, hash or truncate:N"
    return "text"


def _bounds(info: inspect.IntType | inspect.FloatType) -> str:
    noun = "a whole number" if isinstance(info, inspect.IntType) else "a number"
    if info.gt is not None and info.lt is not None:
        return f"{noun} between {plain(info.gt)} and {plain(info.lt)}"
    if info.gt is not None:
        return f"{noun} above {plain(info.gt)}, at most {plain(info.le)}"
    return f"{noun} from {plain(info.ge)} to {plain(info.le)}"


def unknown(key: str, section: str, sections: dict[str, type[Section]], top: list[str]) -> str:
    """The sentence for a key that does not exist: the nearest that does, or where it belongs."""
    from difflib import get_close_matches

    known = list(sections[section].__struct_fields__) if section else top
    where = f" in {section}" if section else ""
    name = shown(key).strip("'")
    near = get_close_matches(key, known, n=1, cutoff=0.6)
    if near:
        return f"unknown key '{name}'{where}; did you mean '{near[0]}'?"
    homes = [title for title, keys in sections.items() if key in keys.__struct_fields__]
    if homes:
        return f"unknown key '{name}'{where}; it belongs in the section '{homes[0]}'"
    if not section:
        names = {name: home for home, keys in sections.items() for name in keys.__struct_fields__}
        near = get_close_matches(key, list(names), n=1, cutoff=0.75)
        if near:
            return f"unknown key '{name}'; did you mean '{near[0]}' in the section '{names[near[0]]}'?"
    return f"unknown key '{name}'{where}; known: {', '.join(known)}"
