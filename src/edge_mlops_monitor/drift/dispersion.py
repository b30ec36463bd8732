"""By how much healthy rows scatter beyond what their reference lets expect, learned while the device runs.

A reference that is short for its own dependence tells too little of it, and the evidence would cry wolf for
ever. So each healthy segment is compared with the one before: the mean square successive difference (von
Neumann, Annals of Mathematical Statistics 12, 1941), which a change disturbs only once, of three contrasts,
over the variance that the null lets expect: the scores of location and scale (of a category: the two most
frequent labels), and what is missing. Where the mean of such ratios is above 1 beyond doubt, all log
ratios of the feature are divided by it, as a quasi-likelihood is (McCullagh and Nelder, Generalized Linear
Models, 1989). A root of a ratio that is on average at most 1 is so too: alarms can only become rarer.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.binning import normal_scores
from edge_mlops_monitor.drift.reference import FeatureReference

Floats = NDArray[np.float64]
State = dict[str, NDArray[np.float64]]

CONTRASTS = 3
# What is kept, and the axes of each: f features, 3 contrasts, 4 with the number of rows.
AXES = {
    "cut": "4f",  # sums over the healthy rows up to the end of the last segment
    "off": "3f",  # by how much that segment's were off, in the root of its rows
    "dispersed": "3f",  # sums of the ratios over the segments so far, forgetting
    "segments": "f",  # how many segments that is
    "excess": "f",  # what log ratios are divided by
}
KEPT = 1 - 1 / 300  # of the sums from segment to segment
LEAST_SEGMENTS = 12
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
        self.starts, self._least = starts, LEAST_ROWS * rows
        self._contrasts = np.concatenate([np.zeros((4, 0)), *(_contrasts(one) for one in references)], axis=1)
        self._moments = np.concatenate((self._contrasts[1:], self._contrasts[1:] ** 2))
        missing = np.array([(one.counts[-1] + 0.5) / (sum(one.counts) + 0.5) for one in references])
        self._spread = np.full((CONTRASTS, len(rows)), SPREAD)
        self._spread[-1] += 1 / (missing * rows)  # what is rare scatters more

    def totals(self, seen: Floats) -> Floats:
        """Rows and sums of the contrasts (..., 4, features) over counts (..., cells)."""
        return np.asarray(np.add.reduceat(seen[..., None, :] * self._contrasts, self.starts, axis=-1))

    def along(self, kept: State, seen: Floats, share: Floats) -> State:
        """What is kept before the first and after each of some segments, from what is kept before the first.

        `seen` (segments, cells) are the healthy counts at the end of each, `share` the null's shares there.
        """
        cut = np.concatenate((kept["cut"], self.totals(seen)))
        sums = cut[1:] - cut[:-1]
        rows = sums[:, :1]
        whole = rows >= self._least
        moments = np.add.reduceat(share[:, None] * self._moments, self.starts, axis=-1)
        mean, square = moments[:, :CONTRASTS], moments[:, CONTRASTS:]
        off = np.concatenate((kept["off"], (sums[:, 1:] - rows * mean) / np.sqrt(rows + 1e-9)))
        if not whole.all():
            for place, of in enumerate(whole):
                off[place + 1] = np.where(of, off[place + 1], off[place])
        change = off[1:] - off[:-1]
        ratios = np.minimum(change * change / (2 * (square - mean * mean) + 1e-9), MOST)
        dispersed, segments = _added(kept, ratios, whole)
        excess = np.concatenate((kept["excess"], self._excess(dispersed[1:], segments[1:])))
        return {"cut": cut, "off": off, "dispersed": dispersed, "segments": segments, "excess": excess}

    def _excess(self, dispersed: Floats, segments: Floats) -> Floats:
        """The largest mean ratio of each feature after each segment where it is above 1 beyond doubt."""
        if segments.max() < LEAST_SEGMENTS:
            return np.ones(segments.shape)
        count = segments[:, None] + 1e-9
        mean = dispersed / count
        beyond = mean > 1 + CERTAIN * np.sqrt(self._spread / count)
        if not np.count_nonzero(beyond):
            return np.ones(segments.shape)
        return np.asarray(np.where(beyond & (count >= LEAST_SEGMENTS), mean, 1.0).max(axis=1))


def _added(kept: State, ratios: Floats, whole: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """The sums before the first and after each segment; one that is not whole adds nothing."""
    sums = np.empty((len(ratios) + 1, CONTRASTS + 1, ratios.shape[-1]))
    sums[0, :CONTRASTS], sums[0, CONTRASTS] = kept["dispersed"][0], kept["segments"][0]
    sums[1:, :CONTRASTS], sums[1:, CONTRASTS] = ratios, 1.0
    if whole.all():
        for before, row in pairwise(sums):
            row += before * KEPT
    else:
        sums[1:] *= whole
        for place, by in enumerate(np.where(whole, KEPT, 1.0)):
            sums[place + 1] += sums[place] * by
    return sums[:, :CONTRASTS], sums[:, CONTRASTS]


def _contrasts(reference: FeatureReference) -> Floats:
    """One for each row, and the contrasts, of each cell (4, cells); 0 where there is nothing to contrast."""
    found = np.zeros((1 + CONTRASTS, reference.bins.size))
    found[0] = found[-1, -1] = 1.0
    ordered = reference.bins.ordered
    if ordered > 1:
        share = np.asarray(reference.counts[:ordered]) + 0.5
        found[1:3, :ordered] = normal_scores(share / share.sum())
    elif not ordered:
        for place, label in enumerate(
            np.argsort(-np.asarray(reference.counts[:-2]), kind="stable")[:2].tolist(), 1
        ):
            found[place, label] = 1.0
    return found
