"""Profiles: what many predictions said about one feature, in fixed size, and merged without loss.

A profile holds counts, moments, counts in the reference's bins, a quantile sketch and the frequent labels.
`merge` is exactly associative and commutative: profiles of hours, devices or sources give the same whatever
the order. docs/concepts/profiles.md says what is exact and what the errors are.
"""

from __future__ import annotations

from collections.abc import Iterable

from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.profiles.buckets import Buckets
from edge_mlops_monitor.profiles.summary import Summary
from edge_mlops_monitor.records import Profile

__all__ = ["VERSION", "merge", "quantile"]

VERSION = 1  # of the fields and their meaning


def merge(profiles: Iterable[Profile]) -> Profile:
    """One profile of all the rows in `profiles`, which are of one feature.

    Model, version and source are kept where all agree, and so are the counts in the bins where all were
    binned by the same reference. The fields that the store fills stay empty. Raises DataError for profiles
    of several features or of another version of this package, and where there is none.

    >>> hours = [Profile(feature="a", rows=2, missing=2), Profile(feature="a", rows=3, missing=3)]
    >>> merge(hours).rows
    5
    """
    whole: Summary | None = None
    for profile in profiles:
        _check(profile)
        summary = Summary.of(profile)
        if whole is None:
            whole = summary
        elif profile.feature != whole.names["feature"]:
            raise DataError(
                f"profiles of '{whole.names['feature']}' and '{profile.feature}' cannot be merged; "
                "merge those of one feature at a time"
            )
        else:
            whole.add(summary)
    if whole is None:
        raise DataError("there is no profile to merge; give at least one")
    return whole.profile()


def quantile(profile: Profile, share: float) -> float | None:
    """The value that `share` of the numbers do not exceed, to within half a `bucket_width`; None without any.

    >>> quantile(Profile(numbers=2, minimum=1.0, maximum=2.0, bucket_width=0.5, buckets=[1.0, 2.0],
    ...                  bucket_counts=[1, 1]), 0.5)
    1.25
    """
    if not 0 <= share <= 1:
        raise DataError(f"a quantile needs a share from 0 to 1, not {share!r}")
    _check(profile)
    if not profile.numbers or profile.minimum is None or profile.maximum is None:
        return None
    found = Buckets.read(profile.bucket_width, profile.buckets, profile.bucket_counts).quantile(share)
    return min(max(found, profile.minimum), profile.maximum)


def _check(profile: Profile) -> None:
    if profile.version != VERSION:
        raise DataError(
            f"this profile has version {profile.version} and this release reads {VERSION}; "
            "upgrade edge-mlops-monitor where profiles are read"
        )
