"""Contexts: what a feature looks like at this hour of the day, or under this recipe.

Where a feature's values depend on the hour or on another column, each row is held against rows of its own
context: its cell is found between the quantiles of that context, and its probability there is what the
reference and the healthy rows of that context say. The evidence goes on over all contexts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.binning import CategoryBins, NumericBins, label

Floats = NDArray[np.float64]

HOUR_OF_DAY = "hour_of_day"
UNTOLD = np.uint64(0xF_FFFF)  # of the bits of an end
LEAST_ROWS = 20  # independent rows below which nothing is decided in a context
LEAST_VISITS = 5  # times that a context must have come about: one night tells nothing of nights


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """A feature in one context: rows in each cell, and where the cells of a number end.

    `edges` are upper ends, as many as there are ordered cells less one; equal ends leave cells empty.
    Without them the cells are the feature's own.
    """

    counts: list[float]
    edges: list[float] = []
    mean: float = 0.0
    spread: float = 0.0
    visits: int = 0


def is_context(kind: str, feature: str) -> bool:
    """Whether a feature is itself what the others depend on."""
    return feature in (kind, f"inputs.{kind}", f"outputs.{kind}")


def labels_of(kind: str, columns: Mapping[str, Any], ts: Sequence[float] | Floats) -> list[str]:
    """The context of each row: the hour of the day (UTC), or the value of the column `kind`.

    >>> labels_of("hour_of_day", {}, [0.0, 7200.0])
    ['00', '02']
    >>> labels_of("recipe", {"inputs.recipe": ["a", None]}, [0.0, 0.0])
    ['a', '']
    """
    if kind == HOUR_OF_DAY:
        hours = np.floor(np.nan_to_num(np.asarray(ts, dtype=np.float64)) / 3600) % 24
        return [f"{int(hour):02d}" for hour in hours]
    for name in (kind, f"inputs.{kind}", f"outputs.{kind}"):
        if columns.get(name) is not None:
            column = columns[name]
            return [
                label(value) or "" for value in (column.tolist() if hasattr(column, "tolist") else column)
            ]
    return [""] * len(ts)


def contexts_of(
    labels: Sequence[str],
    bins: NumericBins | CategoryBins,
    counts: Floats,
    values: Floats,
    near: Floats,
    codes: Any,
) -> tuple[dict[str, Context], NDArray[np.int64]]:
    """Each context of a feature's time-ordered rows, and the cell of each row within its context.

    `counts` and `codes` are the rows' cells without context, `values` their numbers, and `near` those that
    mean and spread are taken of.
    """
    at = np.array(labels)
    inner = np.array(codes, dtype=np.int64)
    shares = np.cumsum(counts[: bins.ordered])
    levels = shares[:-1] / shares[-1] if isinstance(bins, NumericBins) and not bins.few else np.zeros(0)
    found: dict[str, Context] = {}
    for name in sorted(set(labels) - {""}):
        rows = at == name
        numbers = values[rows]
        numbers = numbers[~np.isnan(numbers)]
        edges = levels
        if len(levels) and len(numbers):
            edges = _shortened(np.quantile(numbers, levels, method="inverted_cdf"))
        if len(edges):
            inner[rows] = cells_between(edges, values[rows], bins.size - 1)
        about = near[rows & ~np.isnan(near)]
        found[name] = Context(
            counts=np.bincount(inner[rows], minlength=bins.size).astype(float).tolist(),
            edges=edges.tolist(),
            mean=float(about.mean()) if len(about) else 0.0,
            spread=float(about.std()) if len(about) else 0.0,
            visits=int(rows[0]) + int((rows[1:] & ~rows[:-1]).sum()),
        )
    return found, inner


def _shortened(edges: Floats) -> Floats:
    """The same to ten digits, in less room, rounded up: what is equal to an end stays below it."""
    bits = edges.view(np.uint64)
    up = (np.where(edges > 0, bits + UNTOLD, bits) & ~UNTOLD).view(np.float64)
    return np.where(np.isfinite(up), up, edges)


def cycles_of(labels: Sequence[str]) -> NDArray[np.int64]:
    """Which cycle each row belongs to: one begins where the first row's context comes again.

    >>> cycles_of(["00", "00", "01", "00", "01"]).tolist()
    [0, 0, 0, 1, 1]
    """
    first = np.array(labels) == labels[0]
    first[1:] &= ~first[:-1]
    return np.cumsum(first) - 1


def cells_between(edges: Floats, values: Floats, missing: int) -> NDArray[np.int64]:
    """The cell of each number between these ends; NaN is missing."""
    cells = np.searchsorted(edges, values, side="left")
    return np.where(np.isnan(values), missing, cells)


def enough(found: Mapping[str, Context], tau: float) -> dict[str, Context]:
    """The contexts that are known well enough to decide in."""
    return {
        name: one
        for name, one in found.items()
        if sum(one.counts) >= LEAST_ROWS * tau and one.visits >= LEAST_VISITS
    }
