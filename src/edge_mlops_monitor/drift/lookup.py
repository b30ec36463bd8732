"""Which reference is meant: the most specific one that fits a stream and a feature."""

from __future__ import annotations

from collections.abc import Iterable

from edge_mlops_monitor.drift.reference import SIDES, FeatureReference, Stream


class References:
    """Finds the reference of a stream's feature: the most specific one that fits.

    >>> from edge_mlops_monitor.drift.reference import build
    >>> found = References(build({"a": [1.0, 2.0]})).find(("detector", "3", None), "inputs.a", ["inputs.a"])
    >>> found.name
    'a'
    """

    def __init__(self, features: Iterable[FeatureReference] = ()) -> None:
        self._by_name: dict[str, list[FeatureReference]] = {}
        self._joint: list[FeatureReference] = []
        for feature in features:
            self.add(feature)

    def add(self, feature: FeatureReference) -> None:
        """Add a reference, in place of one for the same stream and feature."""
        if feature.pairs is not None:
            self._joint = [other for other in self._joint if _stream_of(other) != _stream_of(feature)]
            self._joint.append(feature)
            return
        bare = feature.name.partition(".")[2] if feature.name.startswith(SIDES) else feature.name
        replaced = [feature.name] if bare != feature.name else [bare, *(side + bare for side in SIDES)]
        for name in replaced:
            others = self._by_name.get(name, [])
            others[:] = [other for other in others if _stream_of(other) != _stream_of(feature)]
        self._by_name.setdefault(feature.name, []).append(feature)

    def remove(self, stream: Stream, name: str) -> None:
        """Forget whatever `find` would find."""
        for key in (name, name.partition(".")[2]):
            kept = [other for other in self._by_name.get(key, []) if not _fits(other, stream)]
            if key in self._by_name:
                self._by_name[key] = kept

    def all(self) -> list[FeatureReference]:
        """Every reference."""
        alone = [feature for features in self._by_name.values() for feature in features]
        return [*alone, *self._joint]

    def joint(self, stream: Stream) -> FeatureReference | None:
        """The reference of how the features of a stream go together."""
        return _most_specific([feature for feature in self._joint if _fits(feature, stream)])

    def remove_joint(self, stream: Stream) -> None:
        """Forget whatever `joint` would find."""
        self._joint = [feature for feature in self._joint if not _fits(feature, stream)]

    def find(self, stream: Stream, name: str, names: Iterable[str]) -> FeatureReference | None:
        """The reference of feature `name` of a stream whose features are `names`."""
        side, _, bare = name.partition(".")
        keys = [name]
        if side == "outputs" or f"outputs.{bare}" not in set(names):
            keys.append(bare)
        return _most_specific(
            [feature for key in keys for feature in self._by_name.get(key, []) if _fits(feature, stream)]
        )


def _most_specific(found: list[FeatureReference]) -> FeatureReference | None:
    specific = [sum(part is not None for part in _stream_of(feature)) for feature in found]
    return found[specific.index(max(specific))] if found else None


def _stream_of(feature: FeatureReference) -> Stream:
    return feature.model, feature.model_version, feature.source


def _fits(feature: FeatureReference, stream: Stream) -> bool:
    return all(
        mine is None or mine == theirs for mine, theirs in zip(_stream_of(feature), stream, strict=True)
    )
