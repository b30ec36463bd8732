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
SPREAD = 3.0  # variance of a ratio, counted so that the mean of many has it too: they overlap


class Dispersion:
    """The dispersion of several features whose cells begin at `starts`.

    `rows` are the independent rows of a whole segment, by feature.
    """

    def __init__(
        self, references: Sequence[FeatureReference], starts: NDArray[np.int64], rows: Floats
    ) -> None:
        self.starts, self.rows = starts, rows
        sizes = [reference.bins.size for reference in references]
        features = np.arange(len(sizes))
        self.feature_of = np.repeat(features, sizes)
        self._of_sums = np.concatenate((self.feature_of, features, features, features))
        self.scores = np.zeros((2, len(self.feature_of)))
        for reference, start in zip(references, starts.tolist(), strict=True):
            ordered = reference.bins.ordered
            if ordered > 2:  # with two cells the cells say it all
                share = np.asarray(reference.counts[:ordered]) + 0.5
                self.scores[:, start : start + ordered] = normal_scores(share / share.sum())

    def along(self, kept: State, seen: Floats, share: Floats) -> State:
        """What is kept before the first and after each of some segments.

        `seen` (segments, cells) are the healthy counts at the end of each, `share` the null's shares there.
        """
        seen = np.concatenate((kept["cut"][None], seen))
        counts = np.diff(seen, axis=0)
        rows = np.add.reduceat(counts, self.starts, axis=1)
        whole = rows >= LEAST_ROWS * self.rows
        root = np.sqrt(np.maximum(rows, 1e-9))[:, self.feature_of]
        off = np.concatenate((kept["off"][None], counts / root - root * share))
        if not whole.all():
            _stay(off, whole[:, self.feature_of])
        sums = self._sums(kept, np.diff(off, axis=0), share, whole)
        found = {"cut": seen, "off": off} | sums
        found["excess"] = np.concatenate((kept["excess"][None], self._excess(sums, share)))
        return found

    def _sums(self, kept: State, change: Floats, share: Floats, whole: NDArray[np.bool_]) -> State:
        """The sums before the first and after each segment; one that is not whole adds nothing."""
        scores = np.add.reduceat(change[:, None] * self.scores, self.starts, axis=2).reshape(len(change), -1)
        squares = np.concatenate((change * change / (share * (1 - share)), scores * scores), axis=1)
        ratios = np.concatenate((np.minimum(squares / 2, MOST), np.ones(whole.shape)), axis=1)
        counted = whole[:, self._of_sums]
        fading = np.where(counted, KEPT, 1.0)
        names = ("cells_dispersed", "scores_dispersed", "segments")
        first = np.concatenate([kept[name].ravel() for name in names])
        sums = np.concatenate((first[None], np.where(counted, ratios, 0.0)))
        for place, by in enumerate(fading):
            sums[place + 1] += sums[place] * by
        cells, last = len(self.feature_of), squares.shape[1]
        by_score = sums[:, cells:last].reshape(len(sums), 2, -1)
        return dict(zip(names, (sums[:, :cells], by_score, sums[:, last:]), strict=True))

    def _excess(self, kept: State, share: Floats) -> Floats:
        """The largest mean ratio of each feature after each segment where it is above 1 beyond doubt."""
        segments = kept["segments"][1:]
        if segments.max(initial=0.0) < LEAST_SEGMENTS:
            return np.ones(segments.shape)
        count = np.maximum(segments, 1.0)
        of_cells = count[:, self.feature_of]
        by_cell = kept["cells_dispersed"][1:] / of_cells
        doubt = (SPREAD + 1 / (share * self.rows[self.feature_of])) / of_cells
        by_cell[by_cell <= 1 + CERTAIN * np.sqrt(doubt)] = 1.0
        by_score = (kept["scores_dispersed"][1:] / count[:, None]).max(axis=1)
        by_score[by_score <= 1 + CERTAIN * np.sqrt(SPREAD / count)] = 1.0
        largest = np.maximum(np.maximum.reduceat(by_cell, self.starts, axis=1), by_score)
        return np.where(segments >= LEAST_SEGMENTS, largest, 1.0)


def _stay(rows: Floats, whole: NDArray[np.bool_]) -> None:
    """Let each row but the first be the one before it where its segment is not whole."""
    for place, of in enumerate(whole):
        rows[place + 1] = np.where(of, rows[place + 1], rows[place])
