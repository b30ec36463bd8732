"""Learning a reference on the device: a bounded, time-ordered sample of the first predictions.

Rows are kept as whole blocks of consecutive rows, so that their autocorrelation can be measured. Where
the hours to learn bring more rows than are kept, a new block takes the place of another, so that those that
stay are even over the whole time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.binning import as_floats
from edge_mlops_monitor.drift.context import HOUR_OF_DAY, LEAST_VISITS
from edge_mlops_monitor.drift.kept import Kept, written
from edge_mlops_monitor.drift.reference import Column, FeatureReference, build_feature
from edge_mlops_monitor.drift.settings import Settings

LEAST_ROWS = 100
BLOCK_ROWS = 10  # consecutive rows that are kept or dropped together
KEPT_ROWS = 1000  # at least, where so many come: 8 KB a feature
ROWS_BY_HOUR = 125  # needed of each hour of the day, where the reference is to know them
KEPT_BY_HOUR = 160
ROUNDED_BLOCKS = 5  # at once
CONTEXT = " context"  # where the rows' contexts are kept
COARSE = np.uint64(0xFFFF_FFFF_E000_0000)  # of the bits of a float
SQRT_6 = round((math.sqrt(6) - 2) * 2**32) | 1  # odd, so that ranks tell blocks
OVER_SQRT_6 = pow(SQRT_6, -1, 2**32)
PATIENCE = 3  # times that learning takes twice as long, before a feature that wanders is given up


class Learning(msgspec.Struct):
    """Features that began to be learned together, and what was kept of them.

    `ranks` are those of the blocks that are kept, by place (see `_rank`).
    """

    names: list[str]
    started_ts: float
    target: int
    blocks: int  # that are kept at most
    joint: bool = False  # learns how the features go together, not each of them
    by_hour: bool = False  # keeps fewer digits of more rows
    rows: int = 0  # that came
    patience: int = PATIENCE
    ranks: bytes = b""
    fresh: list[int] = []  # places of whole blocks that are not rounded yet
    kept: dict[str, Kept] = {}

    def due(self, settings: Settings, ts: float) -> bool:
        """Whether enough was seen, by `ts`."""
        hours = (ts - self.started_ts) / 3600
        return self.rows >= self.target and hours >= learning_hours(settings)

    def take(self, columns: Mapping[str, Column]) -> None:
        """Take in rows: a column for each of the names, and perhaps their contexts."""
        begin, rows = 0, len(columns[self.names[0]])
        while begin < rows:
            block, within = divmod(self.rows, BLOCK_ROWS)
            end = min(rows, begin + BLOCK_ROWS - within)
            place = self._place(_rank(block))
            if place is not None:
                for name, column in columns.items():
                    kept, part = self.kept.setdefault(name, Kept()), column[begin:end]
                    kept.put(place * BLOCK_ROWS + within, coarse(part) if self.joint else part)
            self.rows += end - begin
            if place is not None and self.by_hour and self.rows % BLOCK_ROWS == 0:
                self.fresh = [*self.fresh, place]
            if len(self.fresh) == ROUNDED_BLOCKS:
                self.round()
            begin = end

    def _place(self, rank: int) -> int | None:
        """Where a block is kept, perhaps instead of another; None where it is not."""
        ranks = np.frombuffer(self.ranks, dtype=np.uint32)
        found = np.flatnonzero(ranks == rank)
        if len(found):
            return int(found[0])
        place = len(ranks)
        if place == self.blocks:
            place = int(ranks.argmax())
            if rank > ranks[place]:
                return None
        self.ranks = written(self.ranks, place, np.uint32(rank).tobytes(), b"\0" * 4)
        return place

    def round(self) -> None:
        """Round what is kept of the blocks that have become whole."""
        if self.fresh:
            contexts = self.kept[CONTEXT].numbered(len(self.ranks) // 4 * BLOCK_ROWS)
            if self.rows % BLOCK_ROWS:
                begun = np.frombuffer(self.ranks, dtype=np.uint32) == _rank(self.rows // BLOCK_ROWS)
                contexts[np.repeat(begun, BLOCK_ROWS)] = -1
            fresh = np.zeros((len(contexts) // BLOCK_ROWS, BLOCK_ROWS), dtype=bool)
            fresh[self.fresh] = True
            for name in self.names:
                self.kept[name].round(fresh.ravel(), contexts, BLOCK_ROWS)
        self.fresh = []

    def build(self, name: str, settings: Settings, **stream: Any) -> FeatureReference:
        """The reference of one feature from what was kept."""
        labels = list(self.column(CONTEXT)) if settings.context else None
        return build_feature(
            name,
            self.column(name),
            near=self._near(name) if self.by_hour else None,
            keep_values=settings.algorithm == "ks_test",
            segment=self.segment,
            context=settings.context,
            labels=labels,
            **stream,
        )

    def column(self, name: str) -> Column:
        """What was kept of one feature, in the order of time; numbers by the hour as the ends of cells."""
        return self.kept[name].column(self._places())

    def _near(self, name: str) -> Column:
        """The same, with numbers that are as near to what they were as is known."""
        places = self._places()
        contexts = self.kept[CONTEXT].numbered(int(places.max()) + 1)[places]
        return self.kept[name].column(places, contexts, BLOCK_ROWS)

    def _places(self) -> NDArray[np.int64]:
        """Where the rows are, in the order of time."""
        places = {block: place for place, block in enumerate(self.numbers_of_blocks)}
        whole = [places[block] for block in sorted(places) if block < self.rows // BLOCK_ROWS]
        return np.array(
            (np.array(whole, dtype=np.int64)[:, None] * BLOCK_ROWS + np.arange(BLOCK_ROWS)).ravel()
        )

    @property
    def numbers_of_blocks(self) -> list[int]:
        """Those of the blocks that are kept, by place."""
        return [_block(rank) for rank in np.frombuffer(self.ranks, dtype=np.uint32).tolist()]

    def in_order(self) -> Learning:
        """The same, with what is kept in the order of time, and its `ranks` the gaps from block to block.

        They compress to next to nothing, and so does what is regular in the rows.
        """
        numbers = np.array(self.numbers_of_blocks, dtype=np.int64)
        order = np.argsort(numbers)
        kept = {name: one.moved(order, BLOCK_ROWS) for name, one in self.kept.items()}
        gaps = np.diff(numbers[order], prepend=0).astype(np.uint32)
        places = np.argsort(order)
        fresh = [int(places[one]) for one in self.fresh]
        return msgspec.structs.replace(self, kept=kept, ranks=gaps.tobytes(), fresh=fresh)

    def with_ranks(self) -> Learning:
        """What it was, apart from the places, from that of `in_order`."""
        numbers = np.add.accumulate(np.frombuffer(self.ranks, dtype=np.uint32)).tolist()
        ranks = np.array([_rank(number) for number in numbers], dtype=np.uint32)
        return msgspec.structs.replace(self, ranks=ranks.tobytes())

    @property
    def segment(self) -> int:
        """The rows of a stretch without gaps; 0 where there are no gaps."""
        return BLOCK_ROWS if self.rows > self.blocks * BLOCK_ROWS else 0

    def release(self, names: list[str]) -> None:
        """Stop learning `names`."""
        self.names = [name for name in self.names if name not in names]
        for name in names:
            self.kept.pop(name, None)

    def goes_on(self) -> bool:
        """Go on with the features that are left for twice as long, where there are any and patience is."""
        self.target, self.patience = 2 * self.rows, self.patience - 1
        return bool(self.names) and self.patience >= 0

    def missing(self, settings: Settings, ts: float) -> str:
        """What is still missing, as words."""
        parts = []
        left = self.target - self.rows
        if left > 0:
            parts.append(f"{left} predictions")
        hours = learning_hours(settings) - (ts - self.started_ts) / 3600
        if hours > 0:
            parts.append(f"{hours:.1f} hours")
        return " and ".join(parts) or "the end of this block"


def coarse(column: Column) -> Column:
    """The first 24 binary digits of each number, which compress to half: on which side a value is, they tell.

    >>> coarse([0.1, -3.0, None]).tolist()
    [0.09999999403953552, -3.0, nan]
    """
    return np.asarray((as_floats(column).view(np.uint64) & COARSE).view(np.float64))


def learning_rows(settings: Settings) -> int:
    """The rows a learned reference needs at least."""
    by_hour = 24 * ROWS_BY_HOUR if settings.context == HOUR_OF_DAY else 0
    return max(settings.learn_reference, LEAST_ROWS, by_hour)


def learning_hours(settings: Settings) -> float:
    """The hours that a learned reference needs at least."""
    days = LEAST_VISITS if settings.context == HOUR_OF_DAY else 0
    return max(settings.learn_reference_hours, 24.0 * days)


def begin(names: list[str], ts: float, settings: Settings, *, joint: bool = False) -> Learning:
    """Begin to learn features, at `ts`."""
    # A ks_test wants raw values, and does not ask for the hour.
    by_hour = settings.context == HOUR_OF_DAY and settings.algorithm != "ks_test"
    kept = max(settings.learn_reference, 24 * KEPT_BY_HOUR if by_hour else KEPT_ROWS)
    return Learning(names, ts, learning_rows(settings), kept // BLOCK_ROWS, joint, by_hour)


def _rank(block: int) -> int:
    """What block * sqrt(6) is beyond a whole number, in 32 bits: the lowest ranks are even over the time.

    So they are of any badly approximable number, with gaps of three lengths (Weyl, 1916; Sos, 1958). Of this
    one a day or an hour of rows is no whole number at usual rates: all parts of an hour are kept.

    >>> sorted(sorted(range(100), key=_rank)[:10])
    [0, 9, 29, 38, 49, 58, 69, 78, 89, 98]
    """
    return block * SQRT_6 & 0xFFFF_FFFF


def _block(rank: int) -> int:
    """The block that has this rank."""
    return rank * OVER_SQRT_6 & 0xFFFF_FFFF
