"""Comparisons of two samples against scipy, NannyML's published values, and what the papers say."""

from __future__ import annotations

import csv
import gzip
import json
import math
import warnings
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_mlops_monitor import drift
from edge_mlops_monitor.drift.comparison import BinnedComparison, NumberComparison
from edge_mlops_monitor.drift.comparisons.cramer_von_mises import exact_p
from edge_mlops_monitor.drift.comparisons.ks_test import KSTest
from edge_mlops_monitor.drift.comparisons.kuiper import kuiper_tail
from edge_mlops_monitor.drift.tails import (
    anderson_darling_tail,
    chi_square_tail,
    cramer_von_mises_tail,
    upper_gamma,
)

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="published values are not here (../shared/data)")

SIZES = [(1, 9), (5, 7), (20, 20), (13, 20), (30, 25), (500, 200), (2000, 100)]


def pairs() -> list[tuple[Any, Any]]:
    rng = np.random.default_rng(11)
    found = []
    for m, n in SIZES:
        for digits in (15, 1, 0):
            for shift in (0.0, 0.5, 3.0):
                found.append((rng.normal(size=m).round(digits), rng.normal(shift, 1, size=n).round(digits)))
    return found


def same(found: float | None, expected: float, rel: float = 1e-9) -> bool:
    return found is not None and math.isclose(found, float(expected), rel_tol=rel, abs_tol=1e-12)


def test_wasserstein_and_energy_agree_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for x, y in pairs():
        assert same(drift.compare("wasserstein", x, y).statistic, stats.wasserstein_distance(x, y))
        assert same(drift.compare("energy", x, y).statistic, stats.energy_distance(x, y))


@pytest.mark.parametrize(("m", "n"), [(20, 2), (5, 5), (3, 4), (10, 1)])
def test_two_constants_are_as_far_apart_as_any_samples_and_not_impossible(m: int, n: int) -> None:
    found = drift.compare("cramer_von_mises", [2.0] * m, [3.0] * n)
    assert found.p_value == pytest.approx(2 / math.comb(m + n, n), rel=1e-9)


def test_cramer_von_mises_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for x, y in pairs():
        if len(x) < 2:
            continue  # scipy refuses a single value
        expected = stats.cramervonmises_2samp(x, y)
        found = drift.compare("cramer_von_mises", x, y, p_value_of="midranks")
        assert same(found.statistic, expected.statistic)
        if float(expected.pvalue) > 1e-3 or len(x) <= 20:
            assert same(found.p_value, expected.pvalue)
        else:  # scipy's tail is 1 minus a sum that ends early
            assert found.p_value == pytest.approx(float(expected.pvalue), abs=1e-6)
        if len(set(x.tolist()) | set(y.tolist())) == len(x) + len(y):
            assert drift.compare("cramer_von_mises", x, y).p_value == pytest.approx(found.p_value, rel=1e-9)


def test_anderson_darling_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for x, y in pairs():
        if len(np.unique(np.concatenate((x, y)))) < 2:
            continue
        for midrank in (True, False):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = stats.anderson_ksamp([x, y], midrank=midrank)
            found = drift.compare("anderson_darling", x, y, midrank=midrank, mode="table")
            assert same(found.statistic, expected.statistic)
            assert same(found.p_value, expected.pvalue)


def test_chi_square_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(3)
    for cells in (2, 3, 8, 200):
        for yates in (True, False):
            x, y = rng.integers(0, cells, 20 * cells), rng.integers(0, cells, 9 * cells)
            labels = np.union1d(x, y)
            table = [[(sample == one).sum() for one in labels] for sample in (x, y)]
            expected = stats.chi2_contingency(np.array(table), correction=yates)
            found = drift.compare("chi_square", x, y, categorical=True, yates=yates, p_value_of="chi_square")
            assert same(found.statistic, expected.statistic)
            assert same(found.p_value, expected.pvalue)
            assert found.data["degrees_of_freedom"] == expected.dof


def test_binned_distances_agree_with_scipy_and_numpy() -> None:
    spatial = pytest.importorskip("scipy.spatial.distance")
    rng = np.random.default_rng(5)
    x, y = rng.gamma(2, size=900), rng.gamma(2.4, size=300)
    for rule in ("doane", "sturges"):
        edges = np.histogram_bin_edges(np.concatenate((x, y)), bins=rule)
        p, q = np.histogram(x, edges)[0] / 900, np.histogram(y, edges)[0] / 300
        how = {"bins": rule, "binning": "equal_width", "edges_from": "both"}
        found = {name: drift.compare(name, x, y, **how).statistic for name in BINNED}
        assert same(found["jensen_shannon"], spatial.jensenshannon(p, q, base=2))
        assert same(found["total_variation"], np.abs(p - q).sum() / 2)
        assert same(found["l_infinity"], np.abs(p - q).max())
        assert same(found["hellinger"], math.sqrt(((np.sqrt(p) - np.sqrt(q)) ** 2).sum() / 2))
        p, q = np.where(p == 0, 1e-4, p), np.where(q == 0, 1e-4, q)
        assert same(found["psi"], ((p - q) * np.log(p / q)).sum())


BINNED = ["psi", "jensen_shannon", "hellinger", "total_variation", "l_infinity"]


@needs_data
def test_scipys_own_small_cases() -> None:
    other = json.loads((DATA / "scipy" / "ks_2samp_vectors.json").read_text())["other"]
    cases = {one["name"]: one for one in reversed(other)}
    wasserstein, energy = cases["wasserstein_distance"], cases["energy_distance"]
    assert same(drift.compare("wasserstein", *wasserstein["args"]).statistic, wasserstein["expected"])
    assert same(drift.compare("energy", *energy["args"]).statistic, energy["expected"])
    for name, yates in (("chi2_contingency(Yates)", True), ("chi2_contingency(no Yates)", False)):
        before, after = (
            [label for label, n in enumerate(row) for _ in range(n)] for row in cases[name]["args"]
        )
        found = drift.compare("chi_square", before, after, categorical=True, yates=yates)
        assert same(found.statistic, cases[name]["expected"][0])
        assert same(found.p_value, cases[name]["expected"][1])
    base_e = cases["jensenshannon(base e)"]
    found = drift.compare("jensen_shannon", ["a"], ["a", "b"], base=math.e)
    assert same(found.statistic, base_e["expected"])


def nannyml_arrays(case: dict[str, Any]) -> tuple[Any, Any]:
    if "ref" in case:
        return case["ref"], case["ana"]
    np.random.seed(1)
    normal, choice = np.random.normal, np.random.choice
    recipes: dict[str, Any] = {
        "js_normal": lambda: (normal(0, 1, 10000), normal(0, 1, 1000)),
        "quasi_cont": lambda: (choice(np.linspace(0, 2, 6), 10000), choice(np.linspace(0, 2, 3), 1000)),
        "categorical": lambda: (choice(list("abcd"), 10000), choice(list("abce"), 1000)),
        "wass_small": lambda: (normal(0, 1, 10000), normal(1, 1, 1000)),
        "wass_medium": lambda: (normal(0, 1, 100000), normal(-4, 1, 1000)),
        "wass_out_of_ref": lambda: (normal(0, 1, 15000), normal(0, 10, 1000000)),
        "hell_none": lambda: (normal(0, 1, 10000), normal(7, 1, 10000)),
        "hell_small": lambda: (normal(0, 1, 10000), normal(-2, 1, 10000)),
    }
    found: tuple[Any, Any] = recipes[case["name"].removesuffix("_h")]()
    return found


@needs_data
def test_nannymls_single_methods_agree_to_the_printed_digits() -> None:
    doane = {"bins": "doane", "binning": "equal_width"}
    methods: dict[str, tuple[str, dict[str, Any]]] = {
        "js_cont": ("jensen_shannon", doane),
        "js_cat": ("jensen_shannon", {}),
        "hell_cont": ("hellinger", doane),
        "hell_cat": ("hellinger", {}),
        "wass": ("wasserstein", {}),
        "l_infinity": ("l_infinity", {}),
    }
    cases = json.loads((DATA / "nannyml" / "expected" / "univariate_methods_expected.json").read_text())
    for case in cases:
        name, how = methods[case["method"]]
        found = drift.compare(name, *nannyml_arrays(case), **how).statistic
        assert round(found or 0.0, case["decimals"]) == case["expected"], case["name"]
        if "computed_here" in case and name != "wasserstein":  # theirs is binned
            assert same(found, case["computed_here"]), case["name"]
    assert len(cases) == 13


@needs_data
def test_nannymls_rule_for_few_values_is_that_of_categories() -> None:
    for name, expected in (("jensen_shannon", 0.7285421086731622), ("hellinger", 0.719157109887117)):
        before, after = nannyml_arrays({"name": "quasi_cont"})
        assert same(drift.compare(name, before, after, categorical=True).statistic, expected)


@needs_data
def test_nannymls_binned_ks_of_the_seeded_frame_agrees_to_six_digits() -> None:
    with gzip.open(DATA / "nannyml" / "inputs" / "seeded_week_frame.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    f1 = np.array([float(row["f1"]) for row in rows])
    months = [int(row["timestamp"][:4]) * 12 + int(row["timestamp"][5:7]) for row in rows]
    at = np.flatnonzero(np.diff(months)) + 1
    chunks = {
        "size_5000": np.split(f1, range(5000, len(f1), 5000)),
        "number_5": np.split(f1, 5),
        "default_10": np.split(f1, 10),
        "month": np.split(f1, at),
    }
    expected = json.loads((DATA / "nannyml" / "expected" / "seeded_week_frame_expected.json").read_text())[
        "ks_f1"
    ]
    for how, parts in chunks.items():
        found = [drift.compare("ks_test", f1[:10080], part, bins=10_000).statistic for part in parts]
        assert [round(one or 0.0, 6) for one in found] == expected[how], how
    exact = [drift.compare("ks_test", f1[:10080], part).statistic for part in chunks["default_10"]]
    assert [round(one or 0.0, 6) for one in exact] == expected["exact_default_10_computed_here"]


def test_evidentlys_normed_wasserstein_divides_by_the_references_sd() -> None:
    rng = np.random.default_rng(8)
    x, y = rng.normal(5, 3, 400), rng.normal(6, 3, 200)
    plain = drift.compare("wasserstein", x, y).statistic
    normed = drift.compare("wasserstein", x, y, divided_by="reference_sd", least_sd=0.001)
    assert plain is not None
    assert same(normed.statistic, plain / x.std())
    assert drift.compare("wasserstein", [2] * 9, [3] * 9, divided_by="reference_sd").statistic is None
    assert same(
        drift.compare("wasserstein", [2] * 9, [3] * 9, divided_by="reference_sd", least_sd=0.5).statistic, 2
    )


def test_a_p_value_decides_from_below_and_a_distance_from_above() -> None:
    rng = np.random.default_rng(9)
    x, y = rng.normal(size=300), rng.normal(1, 1, size=300)
    for name in drift.METHODS:
        if not issubclass(drift.METHODS[name], (KSTest, NumberComparison, BinnedComparison)):
            continue
        low, high = drift.compare(name, x, y, threshold=0.01), drift.compare(name, x, y, threshold=100.0)
        assert low.is_drift is True, name
        assert high.is_drift is (high.p_value is not None), name
        assert drift.compare(name, x, y).is_drift is None, name
        assert low.effect == pytest.approx(1.0, abs=0.15), name
        assert low.method == name
        assert low.sample_size == 300


def test_healthy_samples_keep_the_level_also_with_ties_and_rare_categories() -> None:
    rng = np.random.default_rng(17)
    runs = 200
    for name in ("kuiper", "cramer_von_mises", "anderson_darling", "chi_square"):
        for m, n, digits in ((200, 100, 15), (1000, 30, 0), (12, 9, 1)):
            alarms = 0
            for _ in range(runs):
                x, y = rng.normal(size=m).round(digits), rng.normal(size=n).round(digits)
                alarms += drift.compare(name, x, y, threshold=0.05).is_drift is True
            assert alarms <= 0.05 * runs + 4 * math.sqrt(0.05 * 0.95 * runs), (name, m, n, digits, alarms)
    alarms = 0
    for _ in range(runs):
        x, y = rng.zipf(1.5, 5000) % 10_000, rng.zipf(1.5, 5) % 10_000
        alarms += drift.compare("chi_square", x, y, threshold=0.01, categorical=True).is_drift is True
    assert alarms <= 0.01 * runs + 4 * math.sqrt(0.01 * runs)


def test_a_new_category_in_one_row_of_thirty_is_no_proof_and_in_ten_of_a_hundred_it_is() -> None:
    before = list("abc") * 333
    assert drift.compare("chi_square", before, [*"abc" * 9, "new"], threshold=0.001).is_drift is False
    found = drift.compare("chi_square", before, [*"abc" * 30, *["new"] * 10], threshold=0.001)
    assert found.is_drift is True
    assert found.data["category"] == "new"
    assert found.effect == pytest.approx(0.1)


def test_the_incomplete_gamma_function_agrees_with_scipy() -> None:
    special = pytest.importorskip("scipy.special")
    seen = 0
    for a in (0.5, 1, 1.5, 2, 9.5, 19.5, 20, 50, 500, 5000, 50_000, 1e6):
        for factor in (0.01, 0.5, 0.9, 0.97, 1, 1.001, 1.03, 1.1, 1.3, 2, 5, 20):
            for x in (a * factor, a + (factor - 1) * math.sqrt(a) * 3):
                expected = float(special.gammaincc(a, x)) if x > 0 else 1.0
                if expected > 1e-290:
                    assert math.isclose(upper_gamma(a, x), expected, rel_tol=1e-11), (a, x)
                    seen += 1
    assert seen > 200
    assert chi_square_tail(10.0, 0) == 1.0


def test_the_limits_agree_with_the_published_points_and_with_each_others_tails() -> None:
    # Anderson and Darling, 1952, table 1; Marsaglia and Marsaglia, 2004; Stephens, 1970
    for x, p in ((0.11888, 0.5), (0.34730, 0.1), (0.46136, 0.05), (0.74346, 0.01), (1.16786, 0.001)):
        assert cramer_von_mises_tail(x) == pytest.approx(p, rel=3e-4)
    for x, p in ((1.93295, 0.1), (2.49237, 0.05), (3.87813, 0.01), (5.96927, 0.001)):
        assert anderson_darling_tail(x) == pytest.approx(p, rel=3e-4)
    for x, p in ((1.620, 0.1), (1.747, 0.05), (2.001, 0.01)):
        assert kuiper_tail(x) == pytest.approx(p, rel=0.01)
    # Zolotarev: far out the largest weight decides
    assert anderson_darling_tail(60.0) == pytest.approx(math.sqrt(3 / math.pi / 60) * math.exp(-60), rel=0.01)
    far = 12 * math.pi**2 / 2
    expected = math.sqrt(2 / math.pi / far) * math.exp(-far)
    assert cramer_von_mises_tail(12.0) == pytest.approx(expected, rel=0.02)
    for tail in (cramer_von_mises_tail, anderson_darling_tail):
        steps = [tail(x / 50) for x in range(500)]
        assert all(a >= b for a, b in pairwise(steps))
        assert steps[0] == 1.0


def test_the_exact_cramer_von_mises_p_is_the_share_of_all_orders() -> None:
    m, n = 4, 5
    found = []
    for places in combinations(range(m + n), m):
        i = sum_of_squares = 0
        for step in range(m + n):
            i += step in places
            sum_of_squares += (i * n - (step + 1 - i) * m) ** 2
        found.append(sum_of_squares / (m * n * (m + n) ** 2))
    for statistic in sorted(set(found)):
        share = sum(one >= statistic - 1e-12 for one in found) / len(found)
        assert exact_p(statistic, m, n) == pytest.approx(share, rel=1e-12)


def test_distances_keep_their_units_up_to_the_largest_floats() -> None:
    x, y = [0.0, 1.0, 3.0], [5.0, 6.0, 8.0, 9.0]
    wasserstein, energy = (drift.compare(name, x, y).statistic or 0.0 for name in ("wasserstein", "energy"))
    huge_x, huge_y = [value * 1e200 for value in x], [value * 1e200 for value in y]
    assert same(drift.compare("wasserstein", huge_x, huge_y).statistic, wasserstein * 1e200)
    assert same(drift.compare("energy", huge_x, huge_y).statistic, energy * 1e100)
    assert same(drift.compare("energy", [-1.7e308], [1.7e308]).statistic, 2 * math.sqrt(1.7) * 1e154)
    assert "too large" in drift.compare("wasserstein", [-1.7e308], [1.7e308]).data["lacks"]


def test_the_last_bin_of_a_binned_ks_is_closed() -> None:
    assert drift.compare("ks_test", [0.0, 1.0], [2.0, 3.0], bins=1).statistic == 1.0
    assert drift.compare("ks_test", [0.0, 1.0], [0.0, 1.0], bins=1).statistic == 0.0
