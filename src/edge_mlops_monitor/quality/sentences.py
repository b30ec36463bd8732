"""What is wrong, in words: one sentence for each kind of fault, without its subject and its beginning."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A fault of one feature: its type, words, and the figures of its event.

    `over` is what its end is called. `effect` is the share of rows.
    """

    type: str
    words: str
    figures: str
    over: str
    effect: float
    value: Any = None
    reference: dict[str, float] = {}


def wrong_type(share: float, value: Any, numeric: bool) -> Fault:
    """Text among numbers, or numbers among text."""
    holds, usual = ("text", "numbers") if numeric else ("numbers", "text")
    shown = f"{value!r:.40}"
    return Fault(
        type="type",
        words=f"holds {holds} in place of {usual}",
        figures=f"{share:.0%} of rows, such as {shown}",
        over=f"holds {usual} again",
        effect=share,
        value=value if isinstance(value, (str, int, float)) else str(value),
    )


def out_of_range(share: float, value: float, low: float, high: float) -> Fault:
    """Values far beyond the reference."""
    return Fault(
        type="range",
        words="is out of range",
        figures=f"{share:.0%} of rows, such as {value:.6g}; {low:.6g} to {high:.6g} in the reference",
        over="is back in its range",
        effect=share,
        value=value,
        reference={"low": low, "high": high},
    )


def spikes(share: float, value: float, low: float, high: float) -> Fault:
    """Single values that jump out and back."""
    return Fault(
        type="spike",
        words="has spikes",
        figures=f"{share:.1%} of rows, such as {value:.6g}; {low:.6g} to {high:.6g} in the reference",
        over="has no more spikes",
        effect=share,
        value=value,
        reference={"low": low, "high": high},
    )


def constant(share: float, value: float, healthy: float, clipped: bool) -> Fault:
    """A value that falls to one constant again and again."""
    figures = f"{share:.1%} of rows fall to it, {healthy:.1%} in the reference"
    return Fault(
        type="clipping" if clipped else "dropout",
        words=f"is clipped at {value:.6g}" if clipped else f"drops out to {value:.6g}",
        figures=figures,
        over=f"is no longer clipped at {value:.6g}" if clipped else f"no longer drops out to {value:.6g}",
        effect=share,
        value=value,
        reference={"share": healthy},
    )


def duplicates(share: float) -> Fault:
    """Whole records that come again."""
    return Fault(
        type="duplicates",
        words="are duplicated",
        figures=f"{share:.0%} equal one of the four before in every input and output",
        over="are no longer duplicated",
        effect=share,
    )


def is_clipped(value: float, others: Floats, low: float, high: float, spread: float) -> bool:
    """Whether a constant is a rail that values run against, not a place they drop out to.

    Nothing lies beyond a rail, and the other values come up to it.

    >>> [is_clipped(value, np.array([0.3, 1.9]), -3.0, 3.0, 1.0) for value in (2.0, -9.0)]
    [True, False]
    """
    if not len(others) or (value == 0.0 and (low >= 0 or high <= 0)):
        return False
    beyond_top, beyond_bottom = bool((others > value).any()), bool((others < value).any())
    with np.errstate(over="ignore"):
        return beyond_top != beyond_bottom and float(np.abs(others - value).min()) <= spread
