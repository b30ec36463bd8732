"""Reference files: JSON, either 0.1.1's `{"feature": [value, ...]}`, or what `reference build` writes.

The latter is `{"format": "edge-mlops-monitor reference", "version": 1, "features": [...]}`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from edge_mlops_monitor.drift.binning import NumericBins
from edge_mlops_monitor.drift.reference import FeatureReference, build
from edge_mlops_monitor.errors import DataError

FORMAT = "edge-mlops-monitor reference"
VERSION = 1
MAX_BYTES = 256 << 20
MAX_FEATURES = 2000
MAX_CELLS = 64


class _File(msgspec.Struct, kw_only=True):
    format: str
    version: int
    features: list[FeatureReference]
    joint: list[FeatureReference] = []  # how features go together; older files have none


def dump(references: Iterable[FeatureReference]) -> str:
    """The references as the JSON text of a reference file."""
    alone: list[FeatureReference] = []
    joint: list[FeatureReference] = []
    for one in references:
        (joint if one.pairs else alone).append(one)
    whole = _File(format=FORMAT, version=VERSION, features=alone, joint=joint)
    return msgspec.json.format(msgspec.json.encode(whole), indent=1).decode() + "\n"


def load(path: str | os.PathLike[str], *, keep_values: bool = False) -> list[FeatureReference]:
    """Read a reference file; `keep_values` keeps the raw values of a 0.1.1 file, which `ks_test` needs."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: larger than {MAX_BYTES >> 20} MB; build it without raw values")
        text = path.read_bytes()
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such reference file; write one with `edge-mlops-monitor reference build`"
        ) from None
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
        ) from error
    try:
        return loads(text, keep_values=keep_values)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def loads(text: bytes | str, *, keep_values: bool = False) -> list[FeatureReference]:
    """References from the text of a reference file.

    >>> [reference.name for reference in loads('{"a": [1, 2, 3]}')]
    ['a']
    """
    remedy = "write it anew with `edge-mlops-monitor reference build`"
    try:
        raw = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise DataError(f"not JSON ({error}); {remedy}") from None
    if not isinstance(raw, dict):
        raise DataError(f'neither a reference nor {{"feature": [values]}}; {remedy}')
    if "format" not in raw or isinstance(raw["format"], list):
        return _old_format(raw, keep_values)
    if raw["format"] != FORMAT:
        raise DataError(f"the format is {str(raw['format'])[:60]!r}, not {FORMAT!r}; {remedy}")
    if raw.get("version") != VERSION:
        raise DataError(
            f"version {raw.get('version')!r} is not {VERSION}, which this release reads; {remedy}"
        )
    try:
        found = msgspec.convert(raw, _File)
    except (msgspec.ValidationError, RecursionError) as error:
        raise DataError(f"damaged ({error}); {remedy}") from None
    _check(found.features, remedy)
    if not all(one.pairs is not None and one.pairs.sound for one in found.joint):
        raise DataError(f"the reference of how features go together does not add up; {remedy}")
    return [*found.features, *found.joint]


def _old_format(raw: dict[str, Any], keep_values: bool) -> list[FeatureReference]:
    if not raw:
        raise DataError('holds no feature; give {"feature": [values], ...}')
    if len(raw) > MAX_FEATURES:
        raise DataError(f"holds {len(raw)} features, at most {MAX_FEATURES} are watched; leave some out")
    for name, values in raw.items():
        if not isinstance(values, list) or not all(
            value is None or isinstance(value, (bool, int, float, str)) for value in values
        ):
            raise DataError(
                f"the reference of {name[:60]!r} is not a list of numbers or texts; give them as a list"
            )
    return build(raw, keep_values=keep_values, together=False)


def _check(features: list[FeatureReference], remedy: str) -> None:
    """Refuse a file whose figures contradict each other."""
    if not features:
        raise DataError(f"holds no feature; {remedy}")
    if len(features) > MAX_FEATURES:
        raise DataError(f"holds {len(features)} features, at most {MAX_FEATURES} are watched; leave some out")
    for feature in features:
        wrong = _contradiction(feature)
        if wrong:
            raise DataError(f"the reference of {feature.name[:60]!r} {wrong}; {remedy}")


def _contradiction(feature: FeatureReference) -> str:
    bins = feature.bins
    figures = [*feature.counts, feature.tau, feature.effective_rows, feature.mean or 0.0, feature.sd or 0.0]
    if not all(map(math.isfinite, figures)) or min(feature.counts, default=-1.0) < 0:
        return "has counts or moments that are no numbers"
    if not 2 <= bins.size <= MAX_CELLS or len(feature.counts) != bins.size:
        return f"has {len(feature.counts)} counts for {bins.size} bins"
    if sum(feature.counts) != feature.n or not 0 <= feature.effective_rows <= feature.n or feature.tau < 1:
        return "has counts that do not add up"
    for one in feature.contexts.values():
        fits = len(one.counts) == bins.size and len(one.edges) in (0, bins.ordered - 1)
        if not fits or not all(map(math.isfinite, (*one.counts, *one.edges, one.mean, one.spread))):
            return "has contexts that do not fit its bins"
        if min(one.counts) < 0 or sorted(one.edges) != one.edges:
            return "has contexts that do not fit its bins"
    if isinstance(bins, NumericBins):
        ordered = all(low < high for low, high in zip(bins.edges, bins.edges[1:], strict=False))
        cells_fit = len(bins.cells) == len(bins.edges) + 1 and all(0 <= c < bins.size - 1 for c in bins.cells)
        if not ordered or not cells_fit:
            return "has bin edges out of order"
        if feature.n > feature.counts[-1] and (
            feature.mean is None or feature.spread is None or feature.sd is None
        ):
            return "lacks its mean or standard deviation"
    return ""
