"""The summary of one feature over one window: what rows are added to, and what is written as a profile."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.profiles.buckets import Buckets
from edge_mlops_monitor.profiles.exact import Exact, mean_of, sd_of
from edge_mlops_monitor.profiles.labels import Labels
from edge_mlops_monitor.records import Profile

NAMES = ("feature", "model", "model_version", "source")


class Bins:
    """Counts in the bins of one reference; `reference` identifies it, and is empty where there is none."""

    def __init__(
        self,
        reference: str = "",
        names: list[str] | None = None,
        counts: Any = (),
        expected: list[int] | None = None,
    ) -> None:
        self.reference = reference
        self.names = names or []
        self.counts: NDArray[np.int64] = np.array(counts, dtype=np.int64)
        self.expected = expected or []

    def add(self, other: Bins) -> None:
        """Take in other counts; those of two references say nothing together, and are dropped."""
        if self.reference == other.reference:
            self.counts += other.counts
        else:
            self.reference, self.names, self.expected = "", [], []
            self.counts = self.counts[:0]


class Summary:
    """Counts, moments, bins, buckets and labels of one feature; the fields of a profile, at work."""

    def __init__(self, bins: Bins | None = None, **names: Any) -> None:
        self.names: dict[str, Any] = {name: names.get(name) for name in NAMES}
        self.bins = bins or Bins()
        self.buckets = Buckets()
        self.labels = Labels()
        self.total = self.squares = Exact()
        self.windows = 1
        self.rows = self.missing = self.numbers = self.texts = 0
        self.since, self.until = math.inf, -math.inf
        self.minimum, self.maximum = math.inf, -math.inf

    @classmethod
    def of(cls, profile: Profile) -> Summary:
        """From what was written."""
        bins = Bins(profile.reference, profile.bins, profile.bin_counts, profile.reference_counts)
        made = cls(bins, **{name: getattr(profile, name) for name in NAMES})
        made.buckets = Buckets.read(profile.bucket_width, profile.buckets, profile.bucket_counts)
        made.labels = Labels(profile.labels, profile.label_table)
        made.total, made.squares = Exact.read(profile.exact_sum), Exact.read(profile.exact_squares)
        for name in ("windows", "rows", "missing", "numbers", "texts", "until"):
            setattr(made, name, getattr(profile, name))
        made.since = profile.ts
        if profile.minimum is not None and profile.maximum is not None:
            made.minimum, made.maximum = profile.minimum, profile.maximum
        return made

    def add(self, other: Summary) -> None:
        """Take in the summary of other rows."""
        for name, value in self.names.items():
            if other.names[name] != value:
                self.names[name] = None
        for counted in ("windows", "rows", "missing", "numbers", "texts"):
            setattr(self, counted, getattr(self, counted) + getattr(other, counted))
        self.since, self.until = min(self.since, other.since), max(self.until, other.until)
        self.minimum, self.maximum = min(self.minimum, other.minimum), max(self.maximum, other.maximum)
        self.total, self.squares = self.total.plus(other.total), self.squares.plus(other.squares)
        self.bins.add(other.bins)
        self.buckets.add(other.buckets)
        self.labels.add(other.labels)

    def profile(self) -> Profile:
        """The summary as a record."""
        return Profile(
            ts=self.since if self.since <= self.until else 0.0,
            until=self.until if self.since <= self.until else 0.0,
            windows=self.windows,
            rows=self.rows,
            missing=self.missing,
            numbers=self.numbers,
            texts=self.texts,
            exact_sum=str(self.total),
            exact_squares=str(self.squares),
            reference=self.bins.reference,
            bins=self.bins.names,
            bin_counts=self.bins.counts.tolist(),
            reference_counts=self.bins.expected,
            bucket_width=self.buckets.width,
            buckets=self.buckets.edges.tolist(),
            bucket_counts=self.buckets.counts.tolist(),
            labels=self.labels.named(),
            label_table=self.labels.table,
            minimum=self.minimum if self.numbers else None,
            maximum=self.maximum if self.numbers else None,
            mean=mean_of(self.total, self.numbers) if self.numbers else None,
            sd=sd_of(self.total, self.squares, self.numbers) if self.numbers else None,
            **self.names,
        )
