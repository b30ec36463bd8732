"""The last rows of each feature, counted: what a change is dated and measured by.

The last hundred rows or so are kept in steps, those before in blocks of `BLOCK_STEPS` steps, both in
rings. Findings do not depend on how rows are cut into calls, so a block is the sum of its own steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STEP_ROWS = 5  # rows of a step
BLOCK_STEPS = 5
RECENT_STEPS = 25  # kept singly
RING = 64  # blocks kept
MOST_WAITING = 50  # steps

# Axes: s steps, r blocks, f features, c cells.
AXES = {
    "step_counts": "sc",
    "step_moments": "s3f",  # of the standardised values, see `_centred`
    "step_share": "s",  # what a feature could spend
    "step_ts": "s",  # time of the first row
    "step_context": "s",  # number of the context
    "block_counts": "rc",
    "block_moments": "r3f",
    "block_share": "r",
    "block_ts": "r",
    "block_context": "r",  # of the first step
}


class Taken(Protocol):
    """Steps as they come in (`evidence.Steps`)."""

    first_row: int
    counts: Floats
    moments: Floats
    shares: Floats
    ts: Floats
    contexts: NDArray[np.int64]


class Since(msgspec.Struct, frozen=True):
    """Starts of a change, the latest first, and what came from each start until now.

    `rows` and `ts` are first row and time of each start, `shares` what could be spent in the step or
    block that begins there; `counts` (starts, cells) and `moments` (starts, 3) are summed from there on,
    as are the rows in each context, `expected` (starts, contexts).
    """

    rows: NDArray[np.int64]
    ts: Floats
    shares: Floats
    counts: Floats
    moments: Floats
    expected: Floats


class History:
    """Counts and moments of the last steps and blocks of all features."""

    def __init__(self, cells: int, features: int, contexts: int = 1) -> None:
        self._contexts = contexts
        sizes = {"s": RECENT_STEPS, "r": RING, "3": 3, "f": features, "c": cells}
        kinds: dict[str, Any] = {"counts": np.uint8, "context": np.uint16, "moments": np.float32}
        self._waiting: list[dict[str, NDArray[Any]]] = []  # steps not yet put into the rings,
        self._first = self._end = 0  # numbered from the first to the end
        self._rings: dict[str, NDArray[Any]] = {}
        for name, axes in AXES.items():
            kind = kinds.get(name.partition("_")[2], np.float64)
            self._rings[name] = np.zeros([sizes[axis] for axis in axes], dtype=kind)

    def append(self, steps: Taken, part: slice) -> None:
        """Take in a part of these steps, put into the rings when there are enough or somebody looks."""
        first = steps.first_row // STEP_ROWS + part.start
        self._end = first + part.stop - part.start
        oldest = (self._end // BLOCK_STEPS - RING) * BLOCK_STEPS
        if first < oldest:  # what came before would be overwritten
            self._waiting, first, part = [], oldest, slice(part.start + oldest - first, part.stop)
        if not self._waiting:
            self._first = first
        self._waiting.append(
            {
                "counts": steps.counts[part].astype(np.uint8),
                "moments": steps.moments[part],
                "share": steps.shares[part],
                "ts": steps.ts[part],
                "context": steps.contexts[part],
            }
        )
        if self._end - self._first >= MOST_WAITING:
            self._put_away()

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """The rings of steps and blocks."""
        if self._waiting:
            self._put_away()
        return self._rings

    def _put_away(self) -> None:
        """Put the waiting steps into their ring, and the blocks that they complete into theirs."""
        first, given, self._waiting = self._first, self._waiting, []
        before, blocks = first % BLOCK_STEPS, self._end // BLOCK_STEPS - first // BLOCK_STEPS
        for name in given[0]:
            ring, values = self._rings[f"step_{name}"], np.concatenate([part[name] for part in given])
            if name == "moments":
                values = _centred(values)
            if blocks:
                oldest = (first - before) % RECENT_STEPS
                whole = np.concatenate((ring[oldest : oldest + before], values))[: blocks * BLOCK_STEPS]
                whole = whole.reshape(blocks, BLOCK_STEPS, *ring.shape[1:])
                of_blocks = _of_blocks(name, whole)
                _put(self._rings[f"block_{name}"], first // BLOCK_STEPS, of_blocks)
            _put(ring, first, values)

    def since(
        self, cells: slice, feature: int, first_row: int, last_row: int, context: int | None = None
    ) -> Since:
        """The starts of a change of a feature from `first_row` on, up to `last_row`, the last of a step.

        With `context`, only rows in that one are counted.
        """
        state, last = self.state, last_row // STEP_ROWS
        oldest = max(last // BLOCK_STEPS - (RECENT_STEPS // BLOCK_STEPS - 2), 0) * BLOCK_STEPS
        steps = np.arange(last, max(oldest, min(first_row // STEP_ROWS, last)) - 1, -1)
        block_rows = BLOCK_STEPS * STEP_ROWS
        newest_block = oldest // BLOCK_STEPS - 1
        oldest_block = max(first_row // block_rows, last // BLOCK_STEPS - RING + 1, 0)
        blocks = np.arange(newest_block, oldest_block - 1, -1)
        at, of = steps % RECENT_STEPS, blocks % RING
        both = [
            np.concatenate((state[single][at], state[whole][of]))
            for single, whole in (("step_counts", "block_counts"), ("step_moments", "block_moments"))
        ]
        counts, moments = both[0][:, cells].astype(np.float64), _sums(both[1][:, :, [feature]])[..., 0]
        expected = np.zeros((len(counts), self._contexts))
        contexts = np.concatenate((state["step_context"][at], state["block_context"][of]))
        if context is not None:
            counts[contexts != context] = 0
        expected[np.arange(len(counts)), contexts] = counts.sum(axis=1)
        return Since(
            rows=np.concatenate((steps * STEP_ROWS, blocks * block_rows)),
            ts=np.concatenate((state["step_ts"][at], state["block_ts"][of])),
            shares=np.concatenate((state["step_share"][at], state["block_share"][of])),
            counts=np.add.accumulate(counts, axis=0),
            moments=np.add.accumulate(moments, axis=0),
            expected=np.add.accumulate(expected, axis=0),
        )

    def take_over(self, other: History, chosen: Mapping[str, NDArray[np.int64]]) -> None:
        """Begin with what another history knows of the chosen cells and features."""
        for name, axes in AXES.items():
            places = chosen.get(axes[-1])
            if places is None:
                self.state[name][:] = other.state[name]
            else:
                self.state[name][..., : len(places)] = other.state[name][..., places]


def _of_blocks(name: str, steps: NDArray[Any]) -> NDArray[Any]:
    """What is kept of blocks (blocks, ...), from that of their steps (blocks, steps, ...)."""
    if name in ("ts", "context"):
        return steps[:, 0]
    if name == "moments":
        return _centred(_sums(steps).sum(axis=1))
    return np.asarray(steps.sum(axis=1, dtype=steps.dtype))


def _centred(sums: Floats) -> NDArray[np.float32]:
    """Rows, mean and sum of squares about it, of rows, sum and sum of squares (..., 3, features).

    In half the room: seven digits of a sum of squares would not tell the spread of what is far out.
    """
    rows, total, squares = sums[..., 0, :], sums[..., 1, :], sums[..., 2, :]
    found = sums.astype(np.float32)
    mean = found[..., 1, :] = total / np.maximum(rows, 1)
    found[..., 2, :] = np.maximum(squares - mean * total, 0)
    return found


def _sums(centred: NDArray[np.float32]) -> Floats:
    """What `_centred` was made of, to seven digits."""
    found = centred.astype(np.float64)
    total = found[..., 0, :] * found[..., 1, :]
    found[..., 2, :] += total * found[..., 1, :]
    found[..., 1, :] = total
    return found


def _put(ring: NDArray[Any], first: int, values: NDArray[Any]) -> None:
    """Put the last values, numbered from `first` on, into their places of a ring."""
    skipped = max(0, len(values) - len(ring))
    place = (first + skipped) % len(ring)
    fitting = min(len(ring) - place, len(values) - skipped)
    ring[place : place + fitting] = values[skipped : skipped + fitting]
    ring[: len(values) - skipped - fitting] = values[skipped + fitting :]
