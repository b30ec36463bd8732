"""What a sink is: it sends what it is handed and answers in one of three ways.

Batching, order, back-off, dead letters and counters are the uploader's. A sink only has to know what an
error of its far end means: *try again*, or *never*.
"""

from __future__ import annotations

from typing import Protocol

import msgspec


class Accepted(msgspec.Struct, frozen=True):
    """The object is there, and will survive; `existed` where an earlier attempt had already put it."""

    existed: bool = False


class TryAgain(msgspec.Struct, frozen=True):
    """Not now, for `reason`; `delay` is the least number of seconds to wait, where the far end named one.

    `refused` says that trying again helps only after somebody has changed something there or in the
    config (credentials, bucket, rights): the object is kept and the sink asked seldom.
    """

    reason: str
    delay: float | None = None
    refused: bool = False


class Never(msgspec.Struct, frozen=True):
    """This object will not be taken, whatever is done; others may be."""

    reason: str


class Conflict(Never, frozen=True):
    """The key is taken by another content: a cloned device or a restored database uses the same numbers."""


Answer = Accepted | TryAgain | Never


class Sink(Protocol):
    """The protocol of a sink. It is used by one thread at a time, and made anew in a forked child."""

    def put(self, key: str, body: bytes, content_type: str) -> Answer:
        """Store `body` under `key`, never over another content; return within a bounded time."""
        ...

    def check(self) -> list[str]:
        """Whether it can be reached, without leaving anything there: a sentence for each finding."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
