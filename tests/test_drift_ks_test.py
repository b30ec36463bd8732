"""The Kolmogorov-Smirnov test against scipy's own test vectors."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_mlops_monitor import drift
from edge_mlops_monitor.drift.comparisons.ks_test import (
    KSTest,
    _by_counting,
    _by_steps,
    asymptotic_p,
    exact_p,
)
from edge_mlops_monitor.errors import DataError, UnknownNameError

VECTORS = Path(__file__).resolve().parents[2] / "shared" / "data" / "scipy" / "ks_2samp_vectors.json"


def vectors() -> list[dict[str, Any]]:
    if not VECTORS.exists():
        return []
    found: list[dict[str, Any]] = json.loads(VECTORS.read_text())["ks_2samp"]
    return found


def samples(vector: dict[str, Any]) -> tuple[Any, Any]:
    if "x1" in vector:
        return vector["x1"], vector["x2"]
    n1, n2 = vector["n1"], vector["n2"]
    if "RandomState" in vector["recipe"]:
        rng = np.random.RandomState(123456)
        return rng.normal(size=n1), rng.normal(size=n2) * 1.5
    end = 100 if vector["test"] == "testLarge" else 200
    return np.linspace(1, 200, n1) - 1 / (4 * n1 * n2), np.linspace(2, end, n2)


def close(found: float | None, expected: float) -> bool:
    return found is not None and math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-30)


@pytest.mark.skipif(not VECTORS.exists(), reason="scipy's vectors are not here (../shared/data)")
def test_statistic_and_exact_p_agree_with_every_vector_of_scipy() -> None:
    seen = fallen_back = 0
    smallest = 1.0
    for vector in vectors():
        expected = vector.get("scipy_exact")
        if expected is None and vector["mode"] == "auto" and max(vector["n1"], vector["n2"]) <= 10_000:
            expected = vector["scipy_1_17_1"]
        if expected is None:
            continue
        if vector["alternative"] != "two-sided" and expected == one_sided_fallback(vector):
            fallen_back += 1  # scipy's one-sided count overflowed and it took its asymptotic p instead
            continue
        result = KSTest(vector["alternative"], "exact").compare(*samples(vector))
        assert result.statistic is not None
        assert math.isclose(result.statistic, expected["statistic"], rel_tol=1e-9, abs_tol=1e-15), vector[
            "test"
        ]
        assert close(result.p_value, expected["pvalue"]), (vector["test"], result.p_value, expected)
        smallest = min(smallest, expected["pvalue"])
        seen += 1
    assert (seen, fallen_back) == (52, 10), "every vector is checked or known to be no exact value"
    assert smallest < 1e-25  # tails are covered


def one_sided_fallback(vector: dict[str, Any]) -> dict[str, float] | None:
    asymptotic = vector["scipy_asymp"]["pvalue"]
    same = (
        math.isclose(vector["scipy_exact"]["pvalue"], asymptotic, rel_tol=1e-12)
        if "scipy_exact" in vector
        else False
    )
    return vector["scipy_exact"] if same and asymptotic < 1 else None


def test_one_sided_exact_p_counts_the_paths_where_scipy_gives_up() -> None:
    m, n, height = 500, 600, 20  # D = height / 3000
    paths = [0] * (n + 1)  # that have not reached D, by j
    for i in range(m + 1):
        for j in range(n + 1):
            inside = i * 6 - j * 5 < height
            paths[j] = (
                int(inside) if i == j == 0 else inside * ((paths[j] if i else 0) + (paths[j - 1] if j else 0))
            )
    reached = 1 - paths[n] / math.comb(m + n, m)
    assert math.isclose(exact_p(height / 3000, m, n, two_sided=False), reached, rel_tol=1e-9)


@pytest.mark.skipif(not VECTORS.exists(), reason="scipy's vectors are not here (../shared/data)")
def test_asymptotic_one_sided_p_agrees_with_scipy() -> None:
    seen = 0
    for vector in vectors():
        if vector["alternative"] == "two-sided":
            continue
        result = KSTest(vector["alternative"], "asymp").compare(*samples(vector))
        assert close(result.p_value, vector["scipy_asymp"]["pvalue"]), vector["test"]
        seen += 1
    assert seen >= 30


def test_asymptotic_two_sided_p_is_kolmogorovs_limit() -> None:
    special = pytest.importorskip("scipy.special")
    for d in (0.001, 0.01, 0.02, 0.03, 0.0447, 0.05, 0.1, 0.3):
        z = d * math.sqrt(500)
        assert math.isclose(asymptotic_p(d, 1000, 1000), float(special.kolmogorov(z)), rel_tol=1e-9)


def test_exact_p_is_the_share_of_all_orders_that_reach_d() -> None:
    from itertools import combinations

    m, n = 4, 6
    for d in (1 / 4, 5 / 12, 7 / 12, 3 / 4):
        reached = 0
        for places in combinations(range(m + n), m):
            i = j = 0
            most = 0.0
            for step in range(m + n):
                i, j = (i + 1, j) if step in places else (i, j + 1)
                most = max(most, abs(i / m - j / n))
            reached += most >= d - 1e-12
        assert math.isclose(exact_p(d, m, n), reached / math.comb(m + n, m), rel_tol=1e-12)


def test_the_public_call_gives_effect_and_decision() -> None:
    rng = random.Random(5)
    before = [rng.gauss(10, 2) for _ in range(500)]
    after = [rng.gauss(12, 2) for _ in range(200)]
    result = drift.compare("ks_test", before, [*after, None, math.nan], threshold=0.05)
    assert result.is_drift is True
    assert result.sample_size == 200
    assert result.effect == pytest.approx(1.0, abs=0.2)
    assert drift.compare("ks_test", before, after).is_drift is None


def test_mistakes_are_one_sentence() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'ks_test'"):
        drift.compare("ks_tset", [1.0], [2.0])
    with pytest.raises(UnknownNameError, match="no parameter 'mod'; it takes alternative, mode"):
        drift.compare("ks_test", [1.0], [2.0], mod="exact")
    with pytest.raises(DataError, match="use one of two-sided"):
        drift.compare("ks_test", [1.0], [2.0], alternative="sideways")
    with pytest.raises(DataError, match="compares numbers, not text"):
        drift.compare("ks_test", ["a"], ["b"])
    with pytest.raises(UnknownNameError, match="watches a stream"):
        drift.compare("e_detector", [1.0], [2.0])
    with pytest.raises(UnknownNameError, match="compares two samples"):
        drift.detector("ks_test")
    with pytest.raises(DataError, match="needs reference"):
        drift.detector("e_detector")


def test_paths_counted_by_rows_and_by_steps_give_the_same_p() -> None:
    rng = np.random.default_rng(5)
    for _ in range(300):
        m, n = (int(size) for size in rng.integers(1, 90, size=2))
        common = math.gcd(m, n)
        height = int(rng.integers(1, m * n // common + 1)) * common
        by_steps = _by_steps(height, m, n, True)
        assert _by_counting(height, m, n, True) == pytest.approx(by_steps, rel=1e-12)
        assert _by_counting(height, m, n, False) == pytest.approx(
            _by_steps(height, m, n, False), rel=1e-9, abs=1e-40
        )
    assert exact_p(0.5, 5000, 5000) == pytest.approx(0.0)  # more paths than a float can count
