"""Dropout and clipping: a value that falls to one constant again and again.

A constant is zero, or the highest or lowest value before it of the last 25 to 50 rows, or of 200 to 400:
where a sensor drops out it reads 0, -1, -999 or 65535, where it saturates its rail. A row is marked
where it falls to a constant, that is, equals it and the row before did not; a long run is then one mark,
and is for the stuck check. How often healthy rows do so is counted in the reference in the same way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Marked = NDArray[np.bool_]

EPOCHS = (25, 200)  # rows over which extremes are kept, as whole blocks; the epoch before counts too
FREQUENT = 0.1  # a feature that falls to constants more often is not checked


class Constants:
    """Marks falls to a constant of several features, those that are `on`.

    `state` holds the last row, and by epoch the highest and lowest values of this one and the one before.

    >>> values = np.array([[2.0], [0.0], [0.0], [3.0], [1.0], [3.0]])
    >>> Constants(np.ones(1, dtype=bool)).look(values, 0, 2)[1][:, 0].astype(int).tolist()
    [0, 1, 0, 0, 0, 1]
    """

    def __init__(self, on: Marked) -> None:
        self.on = on
        count = len(on)
        self.state: dict[str, NDArray[Any]] = {
            "last": np.full(count, np.nan),
            "at": np.zeros(count, dtype=bool),
            "top": np.full((len(EPOCHS), 2, count), -np.inf),
            "bottom": np.full((len(EPOCHS), 2, count), np.inf),
        }

    def look(self, values: Floats, first_row: int, block_rows: int) -> tuple[Marked, Marked] | None:
        """Of whole blocks of rows: which are at a constant, the row before them included, and which fall
        to one; None where none does.
        """
        at = np.empty((len(values) + 1, len(self.on)), dtype=bool)
        at[0] = self.state["at"]
        np.equal(values, 0.0, out=at[1:])
        both = np.concatenate((values, -values), axis=1)  # what is lowest is highest of the negated
        blocks = both.reshape(-1, block_rows, both.shape[1])
        short, long = self._highest_before(blocks, first_row // block_rows)
        hit = ((blocks == short) | (blocks == long)).reshape(both.shape)
        at[1:] |= hit[:, : len(self.on)] | hit[:, len(self.on) :]
        at[1:] &= self.on
        before, self.state["last"] = self.state["last"], values[-1].copy()
        self.state["at"] = at[-1].copy()
        if not np.count_nonzero(at):
            return None
        moved = np.empty(values.shape, dtype=bool)
        moved[0], moved[1:] = values[0] != before, values[1:] != values[:-1]
        return at, at[1:] & moved

    def _highest_before(self, blocks: Floats, number: int) -> list[Floats]:
        """The highest values before each block, the first of which has this number, by epoch."""
        highest = np.fmax(np.fmax.reduce(blocks, axis=1), -np.inf)  # NaN is none
        kept = np.concatenate((self.state["top"], -self.state["bottom"]), axis=2)
        found = []
        for place, rows in enumerate(EPOCHS):
            epoch = max(1, rows // blocks.shape[1])
            found.append(_highest_before(highest, kept[place], epoch, number % epoch)[:, None])
        self.state["top"], self.state["bottom"] = kept[..., : len(self.on)], -kept[..., len(self.on) :]
        return found


def _highest_before(values: Floats, kept: Floats, epoch: int, done: int) -> Floats:
    """The highest value before each row, of its epoch and the one before; `kept` is brought up to date.

    `kept` holds the highest of this epoch, of which `done` rows are over, and of the epoch before.
    """
    if not done:
        kept[1], kept[0] = kept[0], -np.inf
    end = done + len(values)
    if end <= epoch:
        before = np.maximum.accumulate(np.concatenate((kept[:1], values)), axis=0)
        kept[0] = before[-1]
        return np.asarray(np.maximum(before[:-1], kept[1]))
    whole = -(-end // epoch)
    so_far = np.full((1 + whole * epoch, values.shape[1]), -np.inf)
    so_far[:2] = kept[1], kept[0]
    so_far[1 + done : 1 + end] = values
    epochs = so_far[1:].reshape(whole, epoch, -1)
    np.maximum.accumulate(epochs, axis=1, out=epochs)
    before = np.maximum(so_far[:-1].reshape(epochs.shape), so_far[:-1:epoch, None])
    kept[0], kept[1] = so_far[-1], so_far[-1 - epoch]
    return np.asarray(before.reshape(whole * epoch, -1)[done:end])
