"""How often common rules cry wolf on data without any drift.

    python benchmarks/bench_rules.py           prints the table
    python benchmarks/bench_rules.py --write   puts it into docs/comparison.md

Seeded: the figures are the same on every machine. A rule is computed here as its authors describe it; what
peers themselves say is measured by bench_peers.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift import compare

Rows = NDArray[np.float64]
Rule = Callable[[Rows, Rows], bool]  # a reference, what is new: is that drift?
Draw = Callable[[int, int], Rows]  # how many series, of how many rows
HEAD = "| rule, on data that never changes | false alarms |\n| --- | --- |"


def ks(before: Rows, now: Rows) -> bool:
    """The Kolmogorov-Smirnov test at 5 %."""
    return bool(compare("ks_test", before, now, threshold=0.05).is_drift)


def psi(before: Rows, now: Rows) -> bool:
    """A population stability index of at least 0.1 over the deciles of the reference."""
    return (compare("psi", before, now).statistic or 0.0) >= 0.1


def evidently_psi(before: Rows, now: Rows) -> bool:
    """The same over the bins that Evidently chooses."""
    bins: dict[str, Any] = {"bins": "sturges", "binning": "equal_width", "edges_from": "both"}
    return (compare("psi", before, now, **bins).statistic or 0.0) >= 0.1


def wasserstein(before: Rows, now: Rows) -> bool:
    """A Wasserstein distance of at least a tenth of the reference's standard deviation."""
    return (compare("wasserstein", before, now, divided_by="reference_sd").statistic or 0.0) >= 0.1


def share(rule: Rule, draw: Draw, runs: int, *, reference: int, window: int) -> str:
    """In how many of `runs` windows the rule says drift, each with a reference of its own."""
    pairs = zip(draw(runs, reference), draw(runs, window), strict=True)
    return f"{100 * sum(rule(before, now) for before, now in pairs) / runs:.0f} % of windows"


def normal(rng: Any) -> Draw:
    """Independent rows."""
    return lambda runs, rows: rng.normal(size=(runs, rows))


def following(rng: Any, correlation: float) -> Draw:
    """First-order autoregressions of variance 1."""

    def draw(runs: int, rows: int) -> Rows:
        out: Rows = rng.normal(size=(runs, rows))
        for row in range(1, rows):
            out[:, row] = correlation * out[:, row - 1] + np.sqrt(1 - correlation**2) * out[:, row]
        return out

    return draw


def one_of(rule: Rule, features: int) -> Rule:
    """Whether any of several features says drift."""
    return lambda before, now: any(map(rule, np.split(before, features), np.split(now, features)))


def first_alarm(rng: Any, features: int, window: int, most: int) -> int:
    """The prediction at which the first of several features says drift, looked at every `window` of them."""
    reference = rng.normal(size=(features, 1000))
    for end in range(window, most + 1, window):
        if any(
            ks(before, now)
            for before, now in zip(reference, rng.normal(size=(features, window)), strict=True)
        ):
            return end
    return most


def table() -> str:
    """Every rule with what it raises."""
    rng = np.random.default_rng(1)
    white = normal(rng)
    firsts = [first_alarm(rng, 20, 100, 25_000) for _ in range(40)]
    rows = [
        (
            "KS test at 5 % of each of 20 features, every 100 predictions (0.1.1 of this package)",
            f"first after {median(firsts):.0f} predictions (median), {max(firsts)} at the latest, of 40 runs",
        ),
        (
            "KS test at 5 % of each of 30 features, 100 rows against 1000",
            share(one_of(ks, 30), white, 200, reference=30_000, window=3000),
        ),
        *(
            (
                f"KS test at 5 %, 500 rows against 500, autocorrelation {correlation}",
                share(ks, following(rng, correlation), 200, reference=500, window=500),
            )
            for correlation in (0.5, 0.9, 0.99)
        ),
        *(
            (
                f"{named} of at least 0.1, 100 rows against 1000",
                share(rule, white, 500, reference=1000, window=100),
            )
            for named, rule in (
                ("Wasserstein distance in standard deviations", wasserstein),
                ("PSI over deciles", psi),
                ("PSI over Evidently's bins", evidently_psi),
            )
        ),
    ]
    return "\n".join([HEAD, *(f"| {rule} | {found} |" for rule, found in rows)])


if __name__ == "__main__":
    print(table())
    if "--write" in sys.argv:
        from run import ROOT, replace

        replace(ROOT / "docs" / "comparison.md", "rules", table())
