"""KSWIN: compares the newest values of a sliding window with the rest of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from edge_mlops_monitor.drift.comparisons.ks_test import exact_p
from edge_mlops_monitor.drift.streaming import FINE, FIRED, StreamDetector, check_above, check_share
from edge_mlops_monitor.errors import DataError

Ranks = NDArray[np.int32]

WINDOWS_AT_ONCE = 512
STRIDE = 8  # windows between those that are looked at in any case


class KSWIN(StreamDetector):
    """The Kolmogorov-Smirnov test on a sliding window: fires when its newest part has another distribution.

    The newest `stat_size` of the last `window_size` values are compared with all the others, by the exact
    two-sided test of two samples of `stat_size` at level `alpha`. Peers draw such a sample of the others at
    random; this is deterministic, and all the others together give a steadier statistic and fewer false
    alarms. After it has fired it begins with an empty window. There is no warning level. Sees changes of any
    kind that come about within the window's length.

    Source: Raab, Heusinger and Schleif, Reactive soft prototype computing for concept drift streams, 2020.

    >>> rng = np.random.default_rng(1)
    >>> stream = np.concatenate((rng.normal(size=500), rng.normal(2, 1, size=500)))
    >>> [500 <= index < 560 for index in KSWIN(alpha=0.0001).update_many(stream)]
    [True]
    """

    name: ClassVar[str] = "kswin"

    def __init__(self, alpha: float = 0.005, window_size: int = 100, stat_size: int = 30) -> None:
        check_share(self.name, alpha=alpha)
        check_above(self.name, 0, window_size=window_size, stat_size=stat_size)
        if stat_size >= window_size:
            raise DataError("kswin compares stat_size values with the rest of window_size; make it smaller")
        self.alpha = alpha
        self.window_size = window_size
        self.stat_size = stat_size
        self._reset()

    def _reset(self) -> None:
        self._level = FINE
        self._newest: list[float] = []
        self._calm = 0  # so many more windows cannot fire

    def _scan(self, values: Sequence[float], start: int) -> int:
        fresh = values[start : start + WINDOWS_AT_ONCE]
        recent = [*self._newest, *fresh]
        taken = len(fresh)
        windows = len(recent) - self.window_size + 1
        if windows > self._calm:
            _, ranks = np.unique(recent, return_inverse=True)
            fired = self._first(sliding_window_view(ranks.astype(np.int32), self.window_size))
            if fired is not None:
                self._level = FIRED
                taken -= windows - 1 - fired
        elif windows > 0:
            self._calm -= windows
        end = len(self._newest) + taken
        self._newest = recent[max(0, end - self.window_size + 1) : end]
        return taken

    def _first(self, windows: Ranks) -> int | None:
        """The first window whose parts differ enough.

        From one window to the next the gap changes by at most `1 / m + 1 / n`, so most need no look.
        """
        new, size = self.stat_size, self.window_size
        limit = _limit(self.alpha, size - new, new)
        looked = np.arange(self._calm, len(windows), STRIDE)
        gaps = _gaps(windows[looked], new)
        ahead = np.arange(1, STRIDE)
        later = looked[:, None] + ahead
        near = (gaps[:, None] + ahead * size >= limit) & (later < len(windows))
        near[:-1] &= gaps[1:, None] + (STRIDE - ahead) * size >= limit
        also = later[near]
        gaps_also = _gaps(windows[also], new) if len(also) else gaps[:0]
        hits = np.concatenate((looked[gaps >= limit], also[gaps_also >= limit]))
        if len(hits):
            return int(hits.min())
        every, all_gaps = np.concatenate((looked, also)), np.concatenate((gaps, gaps_also))
        calm = every + (limit - 1 - all_gaps) // size + 1 - len(windows)  # windows beyond these
        self._calm = max(0, int(calm.max()))
        return None


def _gaps(windows: Ranks, new: int) -> NDArray[np.int64]:
    """The statistic of each window in units of 1 / (m n), ties and all."""
    size = windows.shape[1]
    keys = windows * 2
    keys[:, size - new :] += 1  # the newest part
    keys.sort(axis=1)
    gaps = np.abs(((keys & 1) * size - new).cumsum(axis=1))
    keys >>= 1
    gaps[:, :-1] *= keys[:, 1:] != keys[:, :-1]  # within a tie the functions are not defined
    return np.asarray(gaps.max(axis=1))


@cache
def _limit(alpha: float, m: int, n: int) -> int:
    """The smallest statistic, in units of 1 / (m n), with a p-value of at most alpha; above all if none."""
    low, high = 0, n + 1  # in units of 1 / n
    while high - low > 1:
        middle = (low + high) // 2
        if exact_p(middle / n, n, n) <= alpha:
            high = middle
        else:
            low = middle
    return high * m
