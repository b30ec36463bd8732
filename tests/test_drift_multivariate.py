"""Comparisons of several features together: published figures, honest p-values, whatever comes in."""

from __future__ import annotations

import csv
import gzip
import json
import math
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_mlops_monitor import drift
from edge_mlops_monitor.errors import DataError

METHODS = ["reconstruction", "mahalanobis", "mmd", "domain_classifier"]
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "nannyml"
every = pytest.mark.parametrize("name", METHODS)


def normal(rows: int, features: int = 3, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(rows, features))


def correlated(rows: int, by: float, features: int = 3, seed: int = 0) -> Any:
    """Standard normal rows whose first two features have this correlation."""
    data = normal(rows, features, seed)
    data[:, 1] = by * data[:, 0] + math.sqrt(1 - by * by) * data[:, 1]
    return data


# - published figures -


@pytest.fixture(scope="module")
def frame() -> tuple[list[list[Any]], list[str], dict[str, Any]]:
    """NannyML's rows of f1 to f4, their months, and the expected reconstruction errors."""
    if not DATA.exists():
        pytest.skip("NannyML's seeded frame is not here (../shared/data)")
    with gzip.open(DATA / "inputs" / "seeded_week_frame.csv.gz", "rt") as file:
        found = list(csv.DictReader(file))
    rows = [[float(row["f1"]), float(row["f2"]), int(row["f3"]), row["f4"]] for row in found]
    expected = json.loads((DATA / "expected" / "seeded_week_frame_expected.json").read_text())
    return rows, [row["timestamp"][:7] for row in found], expected["pca_reconstruction"]


@pytest.mark.parametrize("chunking", ["week", "size_5000", "number_5", "month", "default_10"])
def test_the_reconstruction_error_is_nannymls_to_the_printed_digits(frame: Any, chunking: str) -> None:
    rows, months, expected = frame
    by_month = [len(list(group)) for _, group in groupby(months)]
    ends = {
        "week": [1008] * 20,
        "size_5000": [5000] * 4 + [160],
        "number_5": [4032] * 5,
        "month": by_month,
        "default_10": [2016] * 10,
    }[chunking]
    begins = np.cumsum([0, *ends])
    found = [
        drift.compare("reconstruction", rows[:10_080], rows[begin : begin + size], categorical=[2])
        for begin, size in zip(begins, ends, strict=False)
    ]
    if chunking == "size_5000":
        assert [round(one.statistic or 0.0, 5) for one in found] == expected[chunking]
    assert [one.statistic for one in found] == pytest.approx(expected[chunking], abs=6e-6)
    if chunking != "size_5000":
        assert [one.statistic for one in found] == pytest.approx(expected[chunking], abs=1e-11)
    if chunking == "month":
        errors = [round(one.data["sampling_error"], 4) for one in found]
        assert errors == expected["sampling_error_month_4dp"]
    if chunking == "default_10":  # the change at row 15 120 is in the last three chunks, and only there
        outside = [not one.data["lower"] <= (one.statistic or 0.0) <= one.data["upper"] for one in found]
        assert outside[-2] is True
        assert outside[:7] == [False] * 7
        assert (found[-2].p_value or 0.0) < 1e-6


# - changes and p-values -


@pytest.mark.parametrize("name", ["mmd", "domain_classifier"])
def test_a_correlation_that_comes_up_is_seen(name: str) -> None:
    found = drift.compare(name, normal(400), correlated(300, 0.8, seed=1), threshold=0.001)
    assert found.is_drift is True


@every
def test_a_correlation_that_is_lost_is_seen_though_no_feature_has_changed(name: str) -> None:
    before, after = correlated(400, 0.9), normal(300, seed=1)
    assert drift.compare(name, before, after, threshold=0.001).is_drift is True
    alone = [drift.compare("ks_test", before[:, i], after[:, i]).p_value for i in range(3)]
    assert min(one for one in alone if one is not None) > 0.01


@every
@pytest.mark.parametrize("tails", ["normal", "heavy"])
def test_p_values_on_healthy_data_are_not_too_small(name: str, tails: str) -> None:
    """In 150 comparisons 19 below 5 %, or 8 below 1 %, would come with probability below 0.1 %."""
    rng = np.random.default_rng(2)

    def draw(rows: int) -> Any:
        return rng.standard_t(1.5, size=(rows, 4)) if tails == "heavy" else rng.normal(size=(rows, 4))

    found = np.array([drift.compare(name, draw(120), draw(60)).p_value for _ in range(150)])
    assert (found < 0.05).sum() <= 18
    assert (found < 0.01).sum() <= 7
    assert (found < 0.5).sum() >= 30  # nor are they all large


@every
def test_the_answer_is_the_same_each_time_and_in_any_units(name: str) -> None:
    before, after = correlated(300, 0.5), correlated(200, 0.2, seed=3)
    found = drift.compare(name, before, after)
    assert drift.compare(name, before.tolist(), after.tolist()) == found
    scaled = drift.compare(name, before * [1e6, 0.001, 1.0] + 5, after * [1e6, 0.001, 1.0] + 5)
    assert scaled.statistic == pytest.approx(found.statistic, rel=1e-6)
    assert scaled.p_value == pytest.approx(found.p_value, rel=1e-6)


def test_the_classifiers_area_is_that_of_all_pairs() -> None:
    from edge_mlops_monitor.drift.multivariate.domain_classifier import mann_whitney

    before, after = np.array([1.0, 2.0, 2.0, 5.0]), np.array([2.0, 4.0, 6.0])
    pairs = [(y > x) + 0.5 * (y == x) for x in before for y in after]
    assert mann_whitney(before, after).statistic == pytest.approx(np.mean(pairs))
    scipy_stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(4)
    before, after = np.round(rng.normal(size=80), 1), np.round(rng.normal(0.3, 1, size=50), 1)
    expected = scipy_stats.mannwhitneyu(after, before, alternative="greater", method="asymptotic")
    assert mann_whitney(before, after).p_value == pytest.approx(expected.pvalue, rel=1e-9)


def test_the_logistic_regression_agrees_with_scikit_learns() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    from edge_mlops_monitor.drift.multivariate.domain_classifier import logistic_regression

    inputs = normal(300, 4, seed=5)
    labels = (inputs[:, 0] + normal(300, 1, seed=6)[:, 0] > 0.3).astype(float)
    model = linear_model.LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(inputs, labels)
    weights = logistic_regression(np.concatenate((np.ones((300, 1)), inputs), axis=1), labels, 1.0)
    assert weights[1:] == pytest.approx(model.coef_[0], abs=1e-5)
    assert weights[0] == pytest.approx(model.intercept_[0], abs=1e-5)


def test_mmd_comes_near_the_exact_discrepancy_and_more_frequencies_nearer() -> None:
    before, after = normal(200, 2), normal(150, 2, seed=1) + 0.7
    mean, sd = before.mean(axis=0), before.std(axis=0)
    rows = (np.concatenate((before, after)) - mean) / sd
    kernel = np.exp(-((rows[:, None] - rows) ** 2).sum(axis=2) / 2)
    exact = kernel[:200, :200].mean() + kernel[200:, 200:].mean() - 2 * kernel[:200, 200:].mean()
    found = drift.compare("mmd", before, after, bandwidth=1.0, frequencies=1000)
    assert found.statistic == pytest.approx(exact, rel=0.05)


# - whatever comes in -


@every
def test_what_is_too_little_is_said(name: str) -> None:
    rows = normal(100).tolist()
    for before, after, lacks in (
        ([], rows, "the reference is empty"),
        (rows, [], "the current sample is empty"),
        (np.empty((0, 3)), rows, "the reference is empty"),
        (rows, [[None, math.nan, math.inf]] * 5, "the current sample is empty"),
        (rows[:1], rows, "the reference has 1 rows and at least 20 are needed"),
        ([[*row[:2], None] for row in rows], rows, "column 2 has no value in the reference"),
    ):
        found = drift.compare(name, before, after, threshold=0.05)
        assert (found.statistic, found.is_drift) == (None, None)
        assert found.data["lacks"] == lacks


@every
def test_one_current_row_gives_an_answer(name: str) -> None:
    found = drift.compare(name, normal(100), normal(1, seed=1), threshold=0.001)
    assert found.is_drift in (None, False)
    assert found.statistic is not None or "1 rows" in found.data["lacks"]


@every
def test_constants_gaps_and_extremes_give_an_answer_without_a_warning(name: str) -> None:
    before, after = normal(200, 5), normal(100, 5, seed=1)
    for data in (before, after):
        data[:, 1] = 0.1
        data[::3, 2] = np.nan
        data[::50, 3] = np.inf
    assert drift.compare(name, before, after, threshold=0.001).is_drift is False
    after[:, 1] = 0.2  # a constant that has changed
    if name != "mahalanobis":
        assert drift.compare(name, before, after, threshold=0.001).p_value is not None
    for scale in (1e-300, 1e160, 1.7e308):
        found = drift.compare(name, np.tanh(before) * scale, np.tanh(after) * scale)
        assert found.statistic is not None
        far = drift.compare(name, normal(100, 5), np.tanh(after) * scale)
        assert far.statistic is not None
    same = drift.compare(name, np.ones((50, 2)), np.ones((50, 2)), threshold=0.05)
    assert same.is_drift is False


@every
def test_categories_are_taken_beside_numbers(name: str) -> None:
    rng = np.random.default_rng(7)
    before = [[one, "ab"[one > 0.8]] for one in rng.normal(size=300).tolist()]
    after = [[one, "ab"[one > 0.8]] for one in rng.normal(size=200).tolist()]
    apart = [[one[0], two[1]] for one, two in zip(after, after[::-1], strict=True)]
    assert drift.compare(name, before, after, threshold=0.001).is_drift is False
    assert drift.compare(name, before, apart, threshold=0.001).is_drift is (True)
    odd = [[one[0], [None, "new"][i % 2]] for i, one in enumerate(after)]
    assert drift.compare(name, before, odd).statistic is not None


@every
def test_what_is_no_table_is_refused_in_one_sentence(name: str) -> None:
    rows = normal(50).tolist()
    for reference, current, message in (
        (rows, [row[:2] for row in rows], "the reference has 3 features and the current sample 2"),
        (rows, [*rows, [1.0]], "row 50 is not a row like the first"),
        (rows, [1.0, 2.0], "row 0 is not a row"),
        (np.ones(5), rows, "2-D array"),
        ("text", rows, "2-D arrays"),
        (5, rows, "2-D arrays"),
    ):
        with pytest.raises(DataError, match=message):
            drift.compare(name, reference, current)
    with pytest.raises(DataError, match="no column 7"):
        drift.compare(name, rows, rows, categorical=[7])
    with pytest.raises(DataError, match="numbers of columns"):
        drift.compare(name, rows, rows, categorical="color")


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("reconstruction", {"components": 0}),
        ("mahalanobis", {"explained": 1.5}),
        ("mmd", {"frequencies": 0}),
        ("mmd", {"bandwidth": -1.0}),
        ("domain_classifier", {"degree": 3}),
        ("domain_classifier", {"penalty": 0.0}),
    ],
)
def test_parameters_out_of_range_are_refused(name: str, given: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=f"{name} needs"):
        drift.compare(name, normal(30), normal(30), **given)


def test_a_data_frame_is_taken_as_it_is() -> None:
    pandas = pytest.importorskip("pandas")
    before, after = normal(100), normal(80, seed=1)
    names = list("abc")
    found = drift.compare(
        "reconstruction", pandas.DataFrame(before, columns=names), pandas.DataFrame(after, columns=names)
    )
    assert found == drift.compare("reconstruction", before, after)


@every
def test_many_features_and_few_rows_give_an_answer(name: str) -> None:
    found = drift.compare(name, normal(60, 80), normal(40, 80, seed=1), threshold=0.0005)
    assert found.is_drift is False
