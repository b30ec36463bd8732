"""What is wrong with the frames of a camera, told by the few numbers that are kept of each.

These rules name an alarm that another check raised; they raise none themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

DARK, FROZEN, BLURRED, SHIFTED = "dark", "frozen", "blurred", "shifted_histogram"
MOST = 0.5  # share of the pixels that are in the darkest part of the range when a frame is dark
FLAT = 0.25  # of the usual contrast
IN_USE = 0.01  # share of the pixels from which on a range of the histogram is one that frames use


class Level(msgspec.Struct, frozen=True):
    """A number now, its usual value and spread, and between which values 98 % of the reference are."""

    now: float
    usual: float
    spread: float
    low: float
    high: float

    @property
    def moved(self) -> float:
        """How far it is from its usual value, in spreads."""
        return (self.now - self.usual) / self.spread

    @property
    def outside(self) -> bool:
        """Whether it is where the reference hardly ever is."""
        return not self.low <= self.now <= self.high


def cause(levels: Mapping[str, Level], repeats: bool) -> str:
    """Why the frames are not as usual: dark, frozen, blurred, a shifted histogram; empty where none of these.

    `levels` are those of the fields of the frame's summary that are watched; `repeats` says that
    its fingerprint does. A camera that gives nothing but black is dark, though its frames are all the same.

    >>> sharpness, mean = Level(0.1, 0.4, 0.05, 0.3, 0.5), Level(99.0, 101.0, 5.0, 90.0, 110.0)
    >>> cause({"sharpness": sharpness, "mean": mean}, False)
    'blurred'
    """
    if _is_dark(levels):
        return DARK
    if repeats:
        return FROZEN
    if _is_blurred(levels):
        return BLURRED
    return SHIFTED if any(level.outside for name, level in levels.items() if is_light(name)) else ""


def is_light(field: str) -> bool:
    """Whether a field of a summary tells how bright the frame is, and where."""
    return field in ("mean", "sd") or field.startswith("histogram")


def _is_dark(levels: Mapping[str, Level]) -> bool:
    """Less light than ever, and hardly any contrast, or most pixels in the darkest range in use."""
    mean, contrast = levels.get("mean"), levels.get("sd")
    if mean is not None and mean.now >= mean.low:
        return False
    if mean is not None and contrast is not None and contrast.now < FLAT * contrast.usual:
        return True
    share = 0.0
    for name in sorted(name for name in levels if name.startswith("histogram")):
        share += levels[name].now
        if levels[name].usual > IN_USE:
            return share > max(MOST, levels[name].high)
    return False


def _is_blurred(levels: Mapping[str, Level]) -> bool:
    """Less sharp than ever, and the light, if it changed, changed less: what is burnt out has no detail."""
    sharpness, mean = levels.get("sharpness"), levels.get("mean")
    if sharpness is None or sharpness.now >= sharpness.low:
        return False
    return mean is None or not mean.outside or abs(sharpness.moved) > abs(mean.moved)
