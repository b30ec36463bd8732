"""`export`: what is stored, as JSON Lines or CSV, oldest first."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click
import msgspec

from edge_mlops_monitor.cli.options import Moment, config_option, load, open_store
from edge_mlops_monitor.cli.progress import progress

if TYPE_CHECKING:
    from edge_mlops_monitor.records import Record
    from edge_mlops_monitor.store import Store

KINDS = ("predictions", "system", "drift", "profiles", "events", "actuals")


@click.command()
@click.option(
    "--kind", type=click.Choice(KINDS), default="predictions", show_default=True, help="What to export."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv"]),
    default="jsonl",
    show_default=True,
    help="How to write it.",
)
@click.option(
    "--since",
    type=Moment(),
    help="From here on: 2026-05-01, 2026-05-01T12:00:00Z, Unix seconds, or 12h (ago).",
)
@click.option("--until", type=Moment(), help="Up to here, written like --since.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write to FILE instead of standard output.",
)
@config_option
def export(
    kind: str,
    form: str,
    since: float | None,
    until: float | None,
    output: Path | None,
    config_path: Path | None,
) -> None:
    """Write what is stored, oldest first, one record a line."""
    store = open_store(load(config_path))
    window = (-math.inf if since is None else since, math.inf if until is None else until)
    with progress(f"exporting {kind}", store.counts().get(kind)) as advance, _opened(output) as file:
        if form == "csv":
            columns = _columns(_records(store, kind, window, lambda count: None))
            _write_csv(file, _records(store, kind, window, advance), columns)
        else:
            encode = msgspec.json.Encoder(enc_hook=str).encode
            for record in _records(store, kind, window, advance):
                file.write(encode(record.to_dict()) + b"\n")


def _records(store: Store, kind: str, window: tuple[float, float], advance: Any) -> Iterator[Record]:
    """Records within `window`, oldest first, block by block; what is logged meanwhile comes at the end."""
    low, high = window
    key = 0
    while blocks := store.blocks(kind, after=key):
        for block in blocks:
            key = block.key
            if block.last_ts >= low and block.first_ts <= high:
                yield from (record for record in block.records() if low <= record.ts <= high)
            advance(block.count)


def flat(record: dict[str, Any]) -> dict[str, Any]:
    """Nested dicts as dotted columns, lists as JSON, for one line of CSV.

    >>> flat({"id": "p", "inputs": {"box": {"w": 1}, "xs": [1, 2]}, "error": None})
    {'id': 'p', 'inputs.box.w': 1, 'inputs.xs': '[1,2]', 'error': None}
    """
    line: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, dict) and value:
            line |= {f"{key}.{name}": inner for name, inner in flat(value).items()}
        elif isinstance(value, (dict, list, tuple)):
            line[key] = msgspec.json.encode(value, enc_hook=str).decode()
        else:
            line[key] = value
    return line


def _columns(records: Iterator[Record]) -> list[str]:
    """Every column that some record has, in the order in which they are first met."""
    found: dict[str, None] = {}
    for record in records:
        found |= dict.fromkeys(flat(record.to_dict()))
    return list(found)


def _write_csv(file: BinaryIO, records: Iterator[Record], columns: list[str]) -> None:
    import csv
    import io

    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    if columns:
        writer.writeheader()
    for record in records:
        writer.writerow(flat(record.to_dict()))
    text.detach()


@contextmanager
def _opened(output: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that appears under its name only once it is whole."""
    if output is None or str(output) == "-":
        yield sys.stdout.buffer
        return
    part = output.with_name(f"{output.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        os.replace(part, output)
    finally:
        part.unlink(missing_ok=True)
