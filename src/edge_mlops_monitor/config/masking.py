"""Secrets are masked wherever a config is shown: by the name of the key, and inside URLs."""

from __future__ import annotations

import re
from typing import Any

MASK = "***"
_SECRET = re.compile(
    r"secret|passw|passphrase|token|key|credential|authorization|signature|cookie|sas\b|sig\b", re.IGNORECASE
)
_USERINFO = re.compile(r"(?<=://)[^/?#\s]*@")
_QUERY = re.compile(r"([?&;]([^=&;#\s]+)=)([^&;#\s]+)")


def is_secret(name: str) -> bool:
    """Whether a key of this name holds a secret.

    >>> is_secret("secret_access_key"), is_secret("bucket")
    (True, False)
    """
    return _SECRET.search(name) is not None


def masked(value: Any, name: str = "") -> Any:
    """The value as it may be shown under the key `name`, whatever it is nested in.

    >>> masked("https://pi:hunter2@store.example/x?token=abc&n=1")
    'https://***@store.example/x?token=***&n=1'
    >>> masked({"password": "hunter2", "host": "broker"})
    {'password': '***', 'host': 'broker'}
    """
    if name == "redact":  # its names are patterns of features, its values are treatments
        return value
    if isinstance(value, dict):
        return {
            key: masked(item, f"{name} {key}" if is_secret(name) else str(key)) for key, item in value.items()
        }
    if isinstance(value, list):
        return [masked(item, name) for item in value]
    if is_secret(name):
        return MASK if value not in ("", None) else value
    return _without_credentials(value) if isinstance(value, str) else value


def _without_credentials(text: str) -> str:
    text = _USERINFO.sub(f"{MASK}@", text)
    return _QUERY.sub(lambda found: found[1] + (MASK if is_secret(found[2]) else found[3]), text)
