"""The reference of how the numeric features of a stream go together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edge_mlops_monitor.drift.binning import CategoryBins
from edge_mlops_monitor.drift.groups import arrays_of
from edge_mlops_monitor.drift.joint import JOINT, pairs_of
from edge_mlops_monitor.drift.reference import Column, FeatureReference


def that_go_together(names: Sequence[str], references: Sequence[FeatureReference]) -> list[str]:
    """The features whose pairs are looked at: numbers, but not what was measured on one array.

    That describes one frame, and changes together for one cause (see `groups`).
    """
    measured = arrays_of(names)
    return [
        name
        for name, of in zip(names, references, strict=True)
        if of.numeric and not (of.lacks or of.only_rises or name in measured)
    ]


def joint_reference(
    columns: Mapping[str, Column], references: Iterable[FeatureReference], segment: int = 0, **stream: Any
) -> FeatureReference | None:
    """How the numeric ones of these features go together, from the time-ordered rows of their references.

    None where there are fewer than two that vary. With `segment` the rows are stretches of so many rows with
    gaps between them.

    >>> from edge_mlops_monitor.drift.reference import build_feature
    >>> columns = {"a": [i * 7 % 101 for i in range(500)], "b": [i * 11 % 97 for i in range(500)]}
    >>> found = joint_reference(columns, [build_feature(name, column) for name, column in columns.items()])
    >>> found.name, found.pairs.names, found.lacks
    ('joint', ['a', 'b'], '')
    """
    references = list(references)
    names = that_go_together([one.name for one in references], references)
    found = pairs_of({name: columns[name] for name in names}, segment)
    if found is None:
        return None
    pairs, rows, effective = found
    return FeatureReference(
        name=JOINT,
        bins=CategoryBins([]),
        counts=[float(rows), 0.0],
        n=rows,
        tau=max(1.0, *pairs.tau),
        effective_rows=effective,
        pairs=pairs,
        **stream,
    )
