"""What is kept of a large array: a few numbers, in time that does not grow with its size.

Every array has its moments. An embedding (one axis of floats) has its norm and a random projection beside
them, an image how sharp it is, a coarse histogram and a fingerprint. Axes of length one do not count, so
that a batch of one is what is in it. An image has two axes of at least 16 pixels, or these and one of 3 or 4
channels, first or last, and holds floats or unsigned integers of 8 or 16 bits.
"""

from __future__ import annotations

import functools
import math
import zlib
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLED_ELEMENTS = 65_536  # a larger array is summarised from so many evenly strided elements
GRID = 80  # rows, and columns, of an image that are looked at
LEAST_SIDE = 16  # pixels
PROJECTIONS = 8
PROJECTED_ELEMENTS = 8192  # of a longer vector so many evenly strided ones at most
NORM_DIGITS = 6  # of an embedding that was scaled to length 1, rounding errors would be all that is left

# Up to where each share of the histogram counts, the last without end. Those of floats serve images from 0 to
# 1, from -1 to 1, standardised ones and those up to 255; what they have in common is doublings of light.
EDGES = {
    "u1": (31, 63, 95, 127, 159, 191, 223),
    "u2": (256, 512, 1024, 2048, 4096, 8192, 16384),
    "f": (-1.0, 0.0, 0.125, 0.25, 0.5, 1.0, 32.0),
}


def summarise(array: Any) -> dict[str, Any]:
    """Shape, dtype, moments and more of a numeric array; the array is not kept, nor copied as a whole.

    >>> found = summarise(np.ones((10, 10)))
    >>> found["shape"], found["mean"], found["sd"]
    ([10, 10], 1.0, 0.0)
    >>> sorted(summarise(np.ones(100)).keys() - found.keys())
    ['norm', 'projection']
    >>> sorted(summarise(np.zeros((1, 3, 224, 224), np.uint8)).keys() - found.keys())
    ['fingerprint', 'histogram', 'sharpness']
    """
    array = np.asarray(array)
    record: dict[str, Any] = {"shape": list(array.shape), "dtype": str(array.dtype)}
    core = array.squeeze()
    with np.errstate(all="ignore"):
        pixels = pixels_of(core)
        if pixels is not None:
            return {**record, **_image(pixels)}
        # `flat` copies only what it is asked for, also where the array does not lie in one piece.
        step = _stride(core.size, SAMPLED_ELEMENTS)
        sample = (core if core.ndim == 1 else core.flat)[::step].astype(np.float64)
        record.update(_moments(sample))
        if core.ndim == 1 and core.dtype.kind == "f":
            record.update(embedding(sample, core.size))
    return record


def _stride(size: int, most: int) -> int:
    return -(-size // most)


def _moments(sample: NDArray[Any]) -> dict[str, float | None]:
    finite = _finite(sample)
    record: dict[str, float | None] = {"mean": None, "sd": None, "min": None, "max": None}
    if finite.size:
        values = finite.astype(np.float64, copy=False)
        moments = values.mean(), values.std(), finite.min(), finite.max()
        record = dict(zip(record, map(float, moments), strict=True))
    record["zeros"] = 1.0 - int(np.count_nonzero(sample)) / sample.size
    record["nonfinite"] = 1.0 - finite.size / sample.size
    return record


def _finite(sample: NDArray[Any]) -> NDArray[Any]:
    """The finite values, without a copy where all are."""
    if sample.dtype.kind != "f":
        return sample
    finite = np.isfinite(sample)
    return sample if finite.all() else sample[finite]


# - embeddings -


def embedding(values: Any, size: int | None = None) -> dict[str, Any]:
    """The norm of a vector and its projection to 8 numbers; what is not finite counts as 0 beside what is.

    Each number is the sum of all elements with random signs, over the root of 8. The signs are the same on
    every device. By the lemma of Johnson and Lindenstrauss such a projection keeps the distance between any
    two vectors: its square on average, with a standard deviation of a half of it for 8 numbers, so that
    less than one distance in a hundred shrinks to under 0.45 of what it was. Signs do as well for that as
    normal variates (Achlioptas, Database-friendly random projections, J. Comput. Syst. Sci. 66, 2003).

    `size` is the length of the vector of which `values` are evenly strided elements.

    >>> found = embedding(np.sin(np.arange(512.0)))
    >>> found["norm"], round(float(np.linalg.norm(found["projection"])), 1)
    (16.0007, 9.4)
    """
    values = np.asarray(values, dtype=np.float64)
    size = size or values.size
    values = values[:: _stride(values.size, SAMPLED_ELEMENTS)]
    finite = np.isfinite(values)
    if not finite.any():
        return {"norm": None, "projection": [None] * PROJECTIONS}
    values = np.where(finite, values, 0.0)
    with np.errstate(all="ignore"):
        norm = math.sqrt(float((values * values).mean()) * size)
        values = values[:: _stride(values.size, PROJECTED_ELEMENTS)]
        projection = (signs(values.size) * values).sum(axis=1) / math.sqrt(PROJECTIONS)
    return {"norm": float(f"{norm:.{NORM_DIGITS}g}"), "projection": projection.tolist()}


def signs(size: int) -> NDArray[np.float64]:
    """The first `size` columns of an endless matrix of eight rows of random signs.

    >>> signs(3).shape, sorted(set(signs(8192).ravel().tolist()))
    ((8, 3), [-1.0, 1.0])
    """
    return _signs(max(7, (size - 1).bit_length()))[:, :size]


@functools.cache  # for at most 8192 columns: seven sizes, one megabyte in all
def _signs(bits: int) -> NDArray[np.float64]:
    """The bits of splitmix64 (Steele, Lea and Flood, OOPSLA 2014); numpy.random would cost 6.6 MB."""
    mixed = np.arange(1, (1 << bits) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    drawn = mixed >> np.arange(PROJECTIONS, dtype=np.uint64)[:, None] & np.uint64(1)
    return np.asarray(drawn, dtype=np.float64) * 2 - 1


# - images -


def pixels_of(array: NDArray[Any]) -> NDArray[Any] | None:
    """A view of an image as (rows, columns, channels); None for what is no image.

    >>> [pixels_of(np.zeros(shape, np.uint8)).shape for shape in ((20, 30), (3, 20, 30), (20, 30, 4))]
    [(20, 30, 1), (20, 30, 3), (20, 30, 4)]
    >>> pixels_of(np.zeros((20, 5))), pixels_of(np.zeros((20, 20), int))
    (None, None)
    """
    if _edges(array.dtype) is None:
        return None
    if array.ndim == 2:
        array = array[:, :, None]
    elif array.ndim == 3 and array.shape[0] in (3, 4) and array.shape[2] >= LEAST_SIDE:
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or min(array.shape[:2]) < LEAST_SIDE:
        return None
    return array


def _edges(dtype: np.dtype[Any]) -> tuple[float, ...] | None:
    if dtype.kind == "f" and dtype.itemsize <= 8:  # a long double holds bytes that mean nothing
        return EDGES["f"]
    return EDGES.get(f"{dtype.kind}{dtype.itemsize}")


def _image(pixels: NDArray[Any]) -> dict[str, Any]:
    """Moments, sharpness, histogram and fingerprint, from at most 80 by 80 evenly strided pixels."""
    rows, columns = (_stride(side, GRID) for side in pixels.shape[:2])
    sample = np.ascontiguousarray(pixels[::rows, ::columns])
    record: dict[str, Any] = _moments(sample)
    record["sharpness"] = sharpness(pixels[:, :, min(1, pixels.shape[2] - 1)])  # green, where it has colours
    record["histogram"] = _histogram(_finite(sample))
    record["fingerprint"] = float(zlib.crc32(sample.data))
    return record


def sharpness(plane: NDArray[Any]) -> float | None:
    """The variance of the Laplacian over that of the image, 0 for a flat one; None if it is not finite.

    The variance of the Laplacian is how sharp an image is (Pech-Pacheco et al., Diatom autofocusing in
    brightfield microscopy, ICPR 2000); the quotient does not change with the light. At up to 80 by 80
    pixels, each held against its four neighbours in the full resolution. White noise has 20.

    >>> stripes = np.tile([0.0, 0.0, 1.0, 1.0], (64, 16))
    >>> sharpness(stripes) == sharpness(stripes * 100)
    True
    """
    rows, columns = (_stride(side, GRID) for side in plane.shape)
    middle = plane[1:-1:rows, 1:-1:columns].astype(np.float64)
    laplacian = -4 * middle
    for beside in (plane[:-2, 1:-1], plane[2:, 1:-1], plane[1:-1, :-2], plane[1:-1, 2:]):
        laplacian += beside[::rows, ::columns]
    middle, laplacian = _finite(middle), _finite(laplacian)
    if not laplacian.size:
        return None
    contrast, detail = float(middle.var()), float(laplacian.var())
    found = detail / contrast if contrast else detail
    return found if math.isfinite(found) else None


def _histogram(finite: NDArray[Any]) -> list[float] | list[None]:
    """The share of the finite values in each of eight ranges."""
    edges = _edges(finite.dtype)
    if edges is None or not finite.size:
        return [None] * 8
    up_to = [0, *(int(np.count_nonzero(finite <= edge)) for edge in edges), finite.size]
    return [(high - low) / finite.size for low, high in pairwise(up_to)]
