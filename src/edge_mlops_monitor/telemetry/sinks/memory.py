"""A sink that keeps objects in memory: for tests, and for a look at what would be sent."""

from __future__ import annotations

import gzip
from collections import deque
from collections.abc import Iterable
from typing import Any

import msgspec

from edge_mlops_monitor.telemetry.sinks.sink import Accepted, Answer, Conflict


class MemorySink:
    """Keeps what is put; `answers` are given first, one for each put, without keeping anything.

    >>> from edge_mlops_monitor.telemetry.sinks.sink import TryAgain
    >>> sink = MemorySink(answers=[TryAgain("offline")])
    >>> sink.put("k", b"one", "text/plain")
    TryAgain(reason='offline', delay=None, refused=False)
    >>> sink.put("k", b"one", "text/plain"), sink.put("k", b"one", "text/plain").existed
    (Accepted(existed=False), True)
    >>> sink.put("k", b"two", "text/plain").reason
    'the key k holds another content'
    """

    def __init__(self, prefix: str = "", answers: Iterable[Answer] = ()) -> None:
        self.prefix = prefix
        self.answers = deque(answers)
        self.objects: dict[str, bytes] = {}
        self.attempts: list[str] = []

    def put(self, key: str, body: bytes, content_type: str) -> Answer:
        key = self.prefix + key
        self.attempts.append(key)
        if self.answers:
            return self.answers.popleft()
        if key not in self.objects:
            self.objects[key] = bytes(body)
            return Accepted()
        if self.objects[key] == body:
            return Accepted(existed=True)
        return Conflict(f"the key {key} holds another content")

    def records(self, kind: str) -> list[dict[str, Any]]:
        """The records of a kind in all objects, in the order in which the objects arrived."""
        found: list[dict[str, Any]] = []
        for key, body in self.objects.items():
            if f"/kind={kind}/" in f"/{key}":
                found += [msgspec.json.decode(line) for line in gzip.decompress(body).splitlines()]
        return found

    def check(self) -> list[str]:
        return []

    def close(self) -> None:
        pass
