"""Redaction: what must not be stored is dropped, hashed or cut before anything is stored or learned.

Rules are matched against the names of values (`inputs.user.name`, `outputs.text`, `tags.driver`, `actual`),
with `*` for any characters, in their order; the first that matches decides for the value and all below it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import msgspec

Action = Callable[[Any], Any]
DROPPED = object()


class Redaction:
    """Applies `{pattern: "drop" | "hash" | "truncate:N"}` to plain data.

    `key` gives the secret of the keyed hash (HMAC-SHA256, 16 hexadecimal digits): equal values stay equal,
    and nobody without the key can try values out.

    >>> rules = Redaction({"inputs.name": "hash", "*.photo": "drop"}, key=lambda: b"secret")
    >>> rules.apply("inputs", {"name": "Ada", "photo": b"..", "age": 36})
    {'name': '64b930f9c9ee91e3', 'age': 36}
    """

    def __init__(self, rules: Mapping[str, str], key: Callable[[], bytes] = lambda: b"") -> None:
        self._key = functools.cache(key)
        self.rules = [(pattern, self._action(action)) for pattern, action in rules.items()]

    def apply(self, name: str, value: Any) -> Any:
        """`value`, whose name is `name`, with every rule applied; None where it was dropped whole."""
        redacted = self._apply(name, value)
        return None if redacted is DROPPED else redacted

    def _apply(self, name: str, value: Any) -> Any:
        for pattern, action in self.rules:
            if fnmatchcase(name, pattern) or fnmatchcase(name.partition(".")[2], pattern):
                return action(value)
        if isinstance(value, dict):
            parts = {key: self._apply(f"{name}.{key}", item) for key, item in value.items()}
            return {key: item for key, item in parts.items() if item is not DROPPED}
        if isinstance(value, list):
            items = [self._apply(f"{name}[{index}]", item) for index, item in enumerate(value)]
            return [None if item is DROPPED else item for item in items]
        return value

    def _action(self, action: str) -> Action:
        if action == "drop":
            return lambda value: DROPPED
        if action == "hash":
            return self._hash
        length = int(action.partition(":")[2])
        return lambda value: _truncate(value, length)

    def _hash(self, value: Any) -> str:
        import hmac  # brings OpenSSL, 4 MB

        return hmac.new(self._key(), _bytes_of(value), "sha256").hexdigest()[:16]


def _bytes_of(value: Any) -> bytes:
    try:
        return value.encode("utf-8", "replace") if isinstance(value, str) else msgspec.json.encode(value)
    except Exception:  # a dict with odd names
        return repr(value).encode("utf-8", "replace")


def _truncate(value: Any, length: int) -> Any:
    if isinstance(value, (str, bytes)):
        return value[:length]
    if isinstance(value, list):
        return [_truncate(item, length) for item in value[:length]]
    if isinstance(value, dict):
        return {key: _truncate(item, length) for key, item in value.items()}
    return value
