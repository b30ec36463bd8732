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

from edge_mlops_monitor.drift.binning import CategoryBins, NumericBins, label, mean_and_sd

Floats = NDArray[np.float64]

HOUR_OF_DAY = "hour_of_day"
UNTOLD = np.uint64(0xF_FFFF)  # of the bits of an end
LEAST_ROWS = 20  # independent rows below which nothing is decided in a context
LEAST_VISITS = 5  # times that a context must have come about: one night tells nothing of nights
PLAIN = 7.0  # independent rows of a cell that a context would have, if that it has none were chance
IMPOSSIBLE = 1e-6  # what a cell counts that can hold no value


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

    @property
    def stands(self) -> bool:
        """Whether a number never changes in it."""
        return bool(self.edges) and self.spread == 0 and self.edges[0] == self.edges[-1]


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
    inner = np.array(codes, dtype=np.int64)
    shares = np.cumsum(counts[: bins.ordered])
    levels = shares[:-1] / shares[-1] if isinstance(bins, NumericBins) and not bins.few else np.zeros(0)
    found: dict[str, Context] = {}
    for name, rows in sorted(rows_of(labels).items()):
        if not name:
            continue
        numbers = values[rows]
        numbers = numbers[~np.isnan(numbers)]
        edges = levels
        if len(levels) and len(numbers):
            edges = _shortened(np.quantile(numbers, levels, method="inverted_cdf"))
        if len(edges):
            inner[rows] = cells_between(edges, values[rows], bins.size - 1)
        about = near[rows]
        mean, spread = mean_and_sd(about[~np.isnan(about)])
        found[name] = Context(
            counts=np.bincount(inner[rows], minlength=bins.size).astype(float).tolist(),
            edges=edges.tolist(),
            mean=mean,
            spread=spread,
            visits=1 + int((np.diff(rows) > 1).sum()),
        )
    return found, inner


def rows_of(labels: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Which rows are in each context.

    >>> {name: rows.tolist() for name, rows in rows_of(["00", "01", "00"]).items()}
    {'00': [0, 2], '01': [1]}
    """
    found: dict[str, list[int]] = {}
    for row, name in enumerate(labels):
        found.setdefault(name, []).append(row)
    return {name: np.array(rows) for name, rows in found.items()}


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
    first = np.array([name == labels[0] for name in labels])
    first[1:] &= ~first[:-1]
    return np.cumsum(first) - 1


def priors(contexts: Sequence[Context], tau: float) -> Floats:
    """What each cell counts before any row, in each context (contexts, cells).

    Half a row, as without contexts. Where none of them has rows of a cell, though, that are half a row
    together: a recipe's set point would else be held to vary until each of its contexts showed that it does
    not. The same for those that have none where others have many. A cell between equal ends can hold nothing.

    >>> night = Context(counts=[160.0, 0.0, 0.0, 0.0], edges=[0.0, 0.0])
    >>> priors([night, night], 1.0)[0].tolist()
    [0.5, 1e-06, 0.25, 0.25]
    """
    counts = np.array([one.counts for one in contexts]) / tau
    can = np.ones(counts.shape, dtype=bool)
    for place, one in enumerate(contexts):
        can[place, 1 : len(one.edges)] = np.diff(one.edges) > 0
    found = np.full(counts.shape, IMPOSSIBLE)
    for kind in np.unique(can, axis=0):
        alike = (can == kind).all(axis=1)
        seen = counts[alike].sum(axis=0)
        expected = counts[alike].sum(axis=1, keepdims=True) * seen / max(seen.sum(), 1.0)
        never = (counts[alike] == 0) & (expected > PLAIN)
        together = np.where(never, 0.5 / np.maximum(never.sum(axis=0), 1), (seen + 0.5) / alike.sum())
        found[alike] = np.where(kind, np.minimum(together, 0.5), IMPOSSIBLE)
    return found


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
