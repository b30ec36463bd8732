"""By how much healthy rows scatter beyond what their reference lets expect, learned while the device runs.

A reference that is short for its own dependence tells too little of it, and the evidence would cry wolf for
ever. So the counts of each healthy segment are compared with those of the segment before: the mean square
successive difference (von Neumann, Annals of Mathematical Statistics 12, 1941), which a change disturbs
only once, over the variance that the null lets expect, for each cell and for the scores of location and
scale. Where the mean of such ratios is above 1 beyond doubt, all log ratios of the feature are divided by
it, as a quasi-likelihood is (McCullagh and Nelder, Generalized Linear Models, 1989). A root of a ratio that
is on average at most 1 is so too: alarms can only become rarer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.binning import normal_scores
from edge_mlops_monitor.drift.reference import FeatureReference

Floats = NDArray[np.float64]
State = dict[str, NDArray[np.float64]]

# What is kept, and the axes of each: f features, c cells, 2 scores.
AXES = {
    "cut": "c",  # healthy counts at the end of the last segment
    "off": "c",  # by how much the last segment's counts were off, in the root of its rows
    "cells_dispersed": "c",  # sums of the ratios over the segments so far, forgetting
    "scores_dispersed": "2f",
    "segments": "f",  # how many segments that is
    "excess": "f",  # what log ratios are divided by
}
KEPT = 1 - 1 / 300  # of the sums from segment to segment
LEAST_SEGMENTS = 20
LEAST_ROWS = 0.75  # of a segment that must be healthy
MOST = 25.0  # that a segment may count as
CERTAIN = 3.5  # standard errors
SPREAD = (
    3.0  # variance of a ratio of successive differences of normal numbers, those beside each other included
)


class Dispersion:
    """The dispersion of several features whose cells begin at `starts`.

    `rows` are the independent rows of a whole segment, by feature.
    """

    def __init__(
        self, references: Sequence[FeatureReference], starts: NDArray[np.int64], rows: Floats
    ) -> None:
        self.starts, self.rows = starts, rows
        sizes = [reference.bins.size for reference in references]
        self.feature_of = np.repeat(np.arange(len(sizes)), sizes)
        self.scores = np.zeros((2, len(self.feature_of)))
        for reference, start in zip(references, starts.tolist(), strict=True):
            ordered = reference.bins.ordered
            if ordered > 2:  # with two cells the cells say it all
                share = np.asarray(reference.counts[:ordered]) + 0.5
                self.scores[:, start : start + ordered] = normal_scores(share / share.sum())

    def after(self, kept: State, seen: Floats, share: Floats) -> State:
        """What is kept after a segment, given the healthy counts so far and the null's shares."""
        counts = seen - kept["cut"]
        rows = np.add.reduceat(counts, self.starts)
        whole = rows >= LEAST_ROWS * self.rows
        if not whole.any():
            return kept | {"cut": seen}
        root = np.sqrt(np.maximum(rows, 1e-9))[self.feature_of]
        off = counts / root - root * share
        change = off - kept["off"]
        scores = np.add.reduceat(change * self.scores, self.starts, axis=1)
        new = {
            "cut": seen,
            "off": off,
            "cells_dispersed": self._added(kept["cells_dispersed"], change * change / (share * (1 - share))),
            "scores_dispersed": self._added(kept["scores_dispersed"], scores * scores),
            "segments": kept["segments"] * KEPT + 1,
        }
        if not whole.all():
            for name in ("off", "cells_dispersed", "scores_dispersed", "segments"):
                of = whole[self.feature_of] if AXES[name] == "c" else whole
                new[name] = np.where(of, new[name], kept[name])
        return new | {"excess": self._excess(new, share)}

    def _added(self, sums: Floats, squares: Floats) -> Floats:
        return np.asarray(sums * KEPT + np.minimum(squares / 2, MOST))

    def _excess(self, kept: State, share: Floats) -> Floats:
        """The largest mean ratio of each feature, where it is above 1 beyond doubt; else 1."""
        segments = kept["segments"]
        if segments.max() < LEAST_SEGMENTS:
            return np.ones(len(segments))
        count = np.maximum(segments, 1.0)
        of_cells = count[self.feature_of]
        by_cell = kept["cells_dispersed"] / of_cells
        doubt = (SPREAD + 1 / (share * self.rows[self.feature_of])) / of_cells
        by_cell[by_cell <= 1 + CERTAIN * np.sqrt(doubt)] = 1.0
        by_score = kept["scores_dispersed"] / count
        by_score[by_score <= 1 + CERTAIN * np.sqrt(SPREAD / count)] = 1.0
        largest = np.maximum(np.maximum.reduceat(by_cell, self.starts), by_score.max(axis=0))
        return np.where(segments >= LEAST_SEGMENTS, largest, 1.0)
