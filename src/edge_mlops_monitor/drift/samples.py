"""Two samples made ready for a comparison, numbers or categories, and what can be said without any method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.binning import label, numbers
from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.features import is_missing

Floats: TypeAlias = NDArray[np.float64]
Column: TypeAlias = list[Any] | NDArray[Any]

EXACT = 2**53  # integers up to it are floats
LARGEST = 1e150  # of a number: squares of it, and differences, are still floats


def number_sample(method: str, column: Column) -> Floats:
    """The finite numbers of a sample; None, NaN and infinities are missing. Text is refused.

    >>> number_sample("energy", [1, None, 2.5, float("inf"), True]).tolist()
    [1.0, 2.5, 1.0]
    """
    if _holds_text(column):
        raise DataError(f"{method} compares numbers, not text; convert the sample to numbers first")
    found = numbers(column)
    return found[~np.isnan(found)]


def label_sample(column: Column) -> list[str]:
    """The labels of a sample of categories; None and NaN are missing.

    >>> label_sample(["a", None, 3.0])
    ['a', '3']
    """
    rows = column.tolist() if isinstance(column, np.ndarray) else column
    return [text for value in rows if (text := label(value)) is not None]


def are_categories(method: str, reference: Column, current: Column) -> bool:
    """Whether both samples are text; a mixture of text and numbers is refused with the way out."""
    found = [kind for column in (reference, current) if (kind := _kind(column))]
    if "mixed" in found or len(set(found)) > 1:
        raise DataError(
            f"{method} got text and numbers together; convert them, or take both as labels: categorical=True"
        )
    return found[:1] == ["text"]


def sample_column(method: str, values: Any) -> Column:
    """A sample as a list or an array of numbers; what is no list of single values is refused.

    >>> sample_column("psi", (one for one in "ab"))
    ['a', 'b']
    """
    if isinstance(values, (str, bytes, Mapping, Set)) or not hasattr(values, "__iter__"):
        raise DataError(f"{method} takes samples; give each as a list or a one-dimensional array")
    if not isinstance(values, np.ndarray):
        column = list(values)
        if any(isinstance(value, (list, tuple, dict, np.ndarray)) for value in column):
            raise DataError(f"{method} takes one-dimensional samples; give one feature at a time")
        return column
    if values.ndim != 1:
        raise DataError(f"{method} takes one-dimensional samples; give one feature at a time")
    masked = hasattr(values, "mask")  # its list has None where it is masked
    return values if values.dtype.kind in "fiub" and not masked else list(values.tolist())


def holds_large_integers(column: Column, found: Floats) -> bool:
    """Whether a sample has integers that a float cannot hold exactly, the numbers of it being `found`.

    >>> holds_large_integers([2**53 + 1], np.array([2.0**53]))
    True
    """
    if not len(found) or float(np.abs(found).max()) < EXACT:
        return False
    if isinstance(column, np.ndarray):
        return column.dtype.kind in "iu" and (int(column.max()) > EXACT or int(column.min()) < -EXACT)
    return any(isinstance(value, (int, np.integer)) and abs(int(value)) > EXACT for value in column)


def _holds_text(column: Column) -> bool:
    return isinstance(column, list) and any(isinstance(value, (str, bytes)) for value in column)


def _kind(column: Column) -> str:
    if isinstance(column, np.ndarray):
        return "numbers" if len(column) else ""
    text = sum(isinstance(value, (str, bytes)) for value in column)
    other = sum(not is_missing(value) for value in column) - text
    if text and other:
        return "mixed"
    return "text" if text else "numbers" if other else ""


def moved_mean(before: Floats, after: Floats) -> float | None:
    """How far the mean has moved, in standard deviations of the reference; None where that has none.

    >>> moved_mean(np.array([0.0, 2.0]), np.array([4.0]))
    3.0
    """
    scale = max(float(np.abs(before).max()), float(np.abs(after).max())) or 1.0
    with np.errstate(under="ignore"):
        before, after = before / scale, after / scale
        sd = float(before.std())
    return float((after.mean() - before.mean()) / sd) if sd > 0 else None


def moved_share(before: Sequence[str], after: Sequence[str]) -> tuple[float, str]:
    """The category whose share of the rows has changed most, and by how much.

    >>> moved_share(["a", "b"], ["a", "a"])
    (0.5, 'a')
    """
    old, new = Counter(before), Counter(after)
    moved = {text: new[text] / len(after) - old[text] / len(before) for text in old.keys() | new.keys()}
    most = min(moved, key=lambda text: (-abs(moved[text]), text))
    return moved[most], most


def common_scale(before: Floats, after: Floats) -> float:
    """What to divide both samples by so that sums of squares stay finite; 1 unless they are huge."""
    largest = max(float(np.abs(before).max()), float(np.abs(after).max()))
    return largest if largest > LARGEST else 1.0
