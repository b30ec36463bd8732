"""Realised performance: figures as scikit-learn's, intervals that hold what they promise, bad input."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest

from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.performance import realised_classification, realised_regression
from edge_mlops_monitor.performance.realised import t_quantile

Array = np.ndarray[Any, Any]


def values(found: dict[str, Any]) -> dict[str, float]:
    return {name: one["value"] for name, one in found.items()}


@pytest.mark.parametrize("classes", [2, 4])
def test_figures_are_those_of_scikit_learn(classes: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, 400)
    scores = rng.dirichlet(np.ones(classes), 400) + np.eye(classes)[labels] * 0.3
    scores = np.round(scores / scores.sum(axis=1, keepdims=True), 3)
    scores /= scores.sum(axis=1, keepdims=True)
    says = scores.argmax(axis=1)
    how = {"average": "binary" if classes == 2 else "macro", "zero_division": 0.0}
    area = (
        metrics.roc_auc_score(labels, scores[:, 1])
        if classes == 2
        else metrics.roc_auc_score(labels, scores, multi_class="ovr")
    )
    expected = {
        "accuracy": metrics.accuracy_score(labels, says),
        "precision": metrics.precision_score(labels, says, **how),
        "recall": metrics.recall_score(labels, says, **how),
        "f1": metrics.f1_score(labels, says, **how),
        "roc_auc": area,
    }
    assert values(realised_classification(labels, says, scores)) == pytest.approx(expected, abs=1e-12)


def test_errors_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(3)
    labels, says = rng.normal(size=300), rng.normal(size=300)
    found = values(realised_regression(labels, says))
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(labels, says), rel=1e-12)
    assert found["rmse"] == pytest.approx(metrics.mean_squared_error(labels, says) ** 0.5, rel=1e-12)
    assert found["bias"] == pytest.approx(float((says - labels).mean()), rel=1e-9)


def test_student_and_wilson_are_those_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for freedom in (1, 2, 3, 10, 11, 15, 40, 1000):
        assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=2e-4)
    found = realised_classification([1] * 37 + [0] * 3, [1] * 40)["accuracy"]
    interval = stats.binomtest(37, 40).proportion_ci(method="wilson")
    assert (found["lower"], found["upper"]) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_intervals_of_two_classes_hold_the_truth_as_often_as_they_say() -> None:
    """200 repetitions of 200 rows: at least 90 % where 95 % are stated."""
    rng = np.random.default_rng(4)
    big = drawn(rng, 400_000)
    truth = values(realised_classification(*big))
    hits = dict.fromkeys(truth, 0)
    for _ in range(200):
        found = realised_classification(*drawn(rng, 200))
        for name, one in found.items():
            hits[name] += one["lower"] <= truth[name] <= one["upper"]
    assert min(hits.values()) >= 180, hits


def drawn(rng: Any, rows: int) -> tuple[Array, Array, Array]:
    scores = rng.uniform(size=rows)
    labels = (rng.uniform(size=rows) < 0.1 + 0.8 * scores).astype(int)
    return labels, (scores >= 0.5).astype(int), scores


def test_intervals_of_more_classes_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)

    def three(rows: int) -> tuple[Array, Array, Array]:
        labels = rng.integers(0, 3, rows)
        scores = rng.dirichlet(np.ones(3), rows) + 0.4 * np.eye(3)[labels]
        scores /= scores.sum(axis=1, keepdims=True)
        return labels, scores.argmax(axis=1), scores

    truth = values(realised_classification(*three(100_000)))
    hits = dict.fromkeys(truth, 0)
    for _ in range(200):
        for name, one in realised_classification(*three(300)).items():
            hits[name] += one["lower"] <= truth[name] <= one["upper"]
    assert min(hits.values()) >= 180, hits


def test_intervals_of_errors_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(6)
    truth = {"mae": math.sqrt(2 / math.pi), "rmse": 1.0, "bias": 0.0}
    hits = dict.fromkeys(truth, 0)
    for _ in range(300):
        found = realised_regression(np.zeros(60), rng.normal(size=60))
        for name, value in truth.items():
            hits[name] += found[name]["lower"] <= value <= found[name]["upper"]
    assert min(hits.values()) >= 270, hits


def test_perfect_answers_still_have_an_interval() -> None:
    found = realised_classification([0, 1] * 10, [0, 1] * 10, [0.1, 0.9] * 10)
    for name, one in found.items():
        assert one["value"] == one["upper"] == 1.0, name
        assert 0.6 < one["lower"] < 0.95, name


def test_names_of_classes_and_their_order() -> None:
    labels, says = ["ok", "bad", "ok", None, "bad"], ["ok", "ok", "ok", "ok", None]
    found = realised_classification(labels, says)
    assert found["accuracy"]["value"] == pytest.approx(2 / 3)
    assert found["recall"]["value"] == 1.0, "the second of the sorted names is 'ok'"
    other = realised_classification(labels, says, classes=["ok", "bad"])
    assert other["recall"]["value"] == 0.0
    assert other["precision"] == {"value": None, "lower": None, "upper": None}


def test_what_has_no_meaning_is_none_and_not_a_number() -> None:
    found = realised_classification([0] * 5, [0] * 5, [0.1] * 5)
    assert found["accuracy"]["value"] == 1.0
    assert [found[name]["value"] for name in ("precision", "recall", "f1", "roc_auc")] == [None] * 4
    assert realised_regression([1.0], [2.0])["mae"] == {"value": 1.0, "lower": None, "upper": None}


def test_numbers_near_the_end_of_the_range_raise_no_warning() -> None:
    found = realised_regression([1e300, -1e300, 0.0], [-1e300, 1e300, 1e-300])
    assert found["mae"]["value"] == pytest.approx(4e300 / 3)
    assert realised_regression([1e308, 1.0], [-1e308, 2.0])["mae"]["value"] == 1.0, (
        "an infinite error is left out"
    )


def test_thousands_of_classes_take_the_memory_of_their_rows() -> None:
    labels = np.arange(1500)
    tracemalloc.start()
    try:
        found = realised_classification(labels, labels[::-1])
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found["accuracy"]["value"] == 0
    assert most < 10e6  # 1500 rows by 1500 classes are 18 MB


@pytest.mark.parametrize(
    ("labels", "says", "scores", "words"),
    [
        ([], [], None, "no row has both label and prediction"),
        ([1], [1, 0], None, "1 labels and 2 predictions"),
        ([None], [1], None, "no row has both"),
        ([0, 1], [0, 1], [0.1], "2 labels and 1 scores"),
        ([0, 1], [0, 1], [0.1, 7.0], "probabilities from 0 to 1"),
        ([0, 1, 2], [0, 1, 2], [0.1, 0.2, 0.3], "of 2 classes and the labels of 3"),
        (["a", 1], ["a", 2], None, "different kinds"),
        ([[1], [2]], [1, 2], None, "one label for each prediction"),
        (np.array(1.0), [1], None, "one entry for each prediction"),
    ],
)
def test_labels_that_cannot_be_used_are_one_sentence(labels: Any, says: Any, scores: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        realised_classification(labels, says, scores)


@pytest.mark.parametrize(
    ("labels", "says", "words"),
    [
        ([], [], "no row has both"),
        ([1.0], [1.0, 2.0], "1 labels and 2 predictions"),
        ([math.nan], [1.0], "no row has both"),
        (["a"], [1.0], "must be numbers"),
        (np.array([1j]), [1.0], "must be numbers"),
        (np.longdouble("1e400") * np.ones(1, dtype=np.longdouble), [1.0], "no row has both"),
    ],
)
def test_numbers_that_cannot_be_used_are_one_sentence(labels: Any, says: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        realised_regression(labels, says)
