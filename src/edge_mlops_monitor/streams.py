"""The predictions of a block, stream by stream: those of one model, model version and source."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from edge_mlops_monitor.blocks import FIELDS, Block
from edge_mlops_monitor.features import Columns, columns_of

TS, MODEL, VERSION, SOURCE, INPUTS, OUTPUTS, ERROR = (
    FIELDS["predictions"].index(name)
    for name in ("ts", "model", "model_version", "source", "inputs", "outputs", "error")
)

Stream = tuple[str | None, str | None, str | None]
Rows = tuple[Stream, Columns, list[float]]


def streams_of(block: Block) -> Iterator[Rows]:
    """The features of a block's predictions and their times, stream by stream."""
    for stream, rows in _by_stream(block.rows()).items():
        columns = columns_of([row[INPUTS] for row in rows], [row[OUTPUTS] for row in rows])
        yield stream, columns, [row[TS] for row in rows]


def _by_stream(rows: list[list[Any]]) -> dict[Stream, list[list[Any]]]:
    """The rows of predictions that did not fail, by model, model version and source."""
    streams: dict[Any, list[list[Any]]] = defaultdict(list)
    for row in rows:
        if row[ERROR] is None:
            try:
                streams[row[MODEL], row[VERSION], row[SOURCE]].append(row)
            except TypeError:  # a list in place of a name
                streams[str(row[MODEL]), str(row[VERSION]), str(row[SOURCE])].append(row)
    named: dict[Stream, list[list[Any]]] = defaultdict(list)
    for stream, found in streams.items():
        named[_named(stream)] += found
    return named


def _named(stream: tuple[Any, Any, Any]) -> Stream:
    model, version, source = (None if name is None else str(name) for name in stream)
    return model, version, source
