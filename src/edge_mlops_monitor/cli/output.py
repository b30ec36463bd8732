"""How answers are printed: JSON for programs, plain aligned text for people."""

from __future__ import annotations

import re
import shutil
import textwrap
import time
from typing import Any

import click
import msgspec

_CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def print_json(answer: Any) -> None:
    """One JSON value and a line end; floats that JSON does not have become null."""
    text = msgspec.json.format(msgspec.json.encode(answer, enc_hook=str), indent=2)
    click.echo(text.decode())


def say(text: str) -> None:
    """Print text and a line end, without what would command a terminal: names come from anywhere."""
    click.echo(plain(text))


def plain(text: str) -> str:
    r"""Text with another character for each control character but line ends, and for turns of direction.

    >>> plain("a\x1b[31mb\n") == "a\ufffd[31mb\n"
    True
    """
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def width() -> int:
    """Columns to write for: those of the terminal, 80 where there is none."""
    return max(60, min(100, shutil.get_terminal_size((80, 24)).columns))


def rows(pairs: list[tuple[str, str]], indent: int = 0) -> str:
    """Aligned lines `name  text`, the text wrapped beside its name.

    >>> print(rows([("stored", "5"), ("database", "/x")]))
    stored    5
    database  /x
    """
    widest = max(len(name) for name, _ in pairs) + 2
    lines = []
    for name, text in pairs:
        head = " " * indent + name.ljust(widest)
        wrapped = textwrap.wrap(text, width() - len(head), break_on_hyphens=False) or [""]
        lines.append(head + wrapped[0])
        lines += [" " * len(head) + line for line in wrapped[1:]]
    return "\n".join(line.rstrip() for line in lines)


def table(header: list[str], lines: list[list[str]]) -> str:
    """Aligned columns under a header, the first to the left and the others to the right.

    >>> print(table(["", "missed"], [["never", "1"]]))
           missed
    never       1
    """
    cells = [header, *lines]
    widths = [max(len(line[place]) for line in cells) for place in range(len(header))]
    aligned = [
        "  ".join(
            [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]
        )
        for line in cells
    ]
    return "\n".join(line.rstrip() for line in aligned)


def number(value: float) -> str:
    """A count with thin groups: 1 234 567.

    >>> number(1234567)
    '1 234 567'
    """
    return f"{value:,}".replace(",", " ")


def megabytes(count: float) -> str:
    """Bytes as people say them.

    >>> megabytes(12_345_678), megabytes(1500), megabytes(0)
    ('12.3 MB', '1.5 kB', '0 B')
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"


def duration(seconds: float) -> str:
    """How long: the two largest units.

    >>> duration(90), duration(7500), duration(0.2)
    ('1 min 30 s', '2 h 5 min', '0.2 s')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count:.0f} {unit}")
    return " ".join(parts[:2])


def clock_time(ts: float) -> str:
    """A point in time as local date and time."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ts))
    except (OverflowError, OSError, ValueError):
        return "at an impossible time"


def utc(ts: float) -> str:
    """A point in time of recorded data, which is in UTC where it does not say otherwise.

    >>> utc(90.0)
    '1970-01-01T00:01:30Z'
    """
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ts))
    except (OverflowError, OSError, ValueError):
        return "at an impossible time"


def feature_name(*parts: str | None, most: int = 40) -> str:
    """A feature with the stream it belongs to, shortened in the middle where it is too long.

    >>> feature_name("detector", None, "camera-3", "inputs.a")
    'detector camera-3 inputs.a'
    """
    name = " ".join(" ".join(part.split()) for part in parts if part)
    half = (most - 3) // 2
    return name if len(name) <= most else f"{name[:half]}...{name[-(most - 3 - half) :]}"
