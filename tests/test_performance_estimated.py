"""Estimated performance: CBPE and DLE against simulations whose truth is known, calibration, bad input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edge_mlops_monitor.errors import DataError
from edge_mlops_monitor.performance import (
    calibration,
    estimate,
    estimate_error,
    realised_classification,
)

METRICS = ["roc_auc", "accuracy", "f1", "precision", "recall"]
Array = np.ndarray[Any, Any]


def true_chance(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(0.3 - x)))


def drawn(rng: Any, rows: int, shift: float) -> tuple[Array, Array]:
    """Probabilities of a calibrated model, and labels that follow them."""
    chance = true_chance(rng.normal(shift, 1.5, rows))
    return chance, (rng.uniform(size=rows) < chance).astype(int)


def three_classes(rng: Any, rows: int, shift: float) -> tuple[Array, Array]:
    logits = rng.normal(size=(rows, 3)) * 1.5
    logits[:, 0] += shift
    chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return chance, (chance.cumsum(axis=1) < rng.uniform(size=(rows, 1))).sum(axis=1).clip(0, 2)


def within(found: dict[str, Any], real: dict[str, Any]) -> dict[str, bool]:
    return {name: found[name]["lower"] <= real[name]["value"] <= found[name]["upper"] for name in METRICS}


# - CBPE -


@pytest.mark.parametrize("scores", ["calibrated", "not calibrated"])
def test_under_a_shift_of_the_data_the_realised_performance_lies_within_the_interval(scores: str) -> None:
    """95 % are stated and at least 90 % asked for, of 150 repetitions; the reference alone would mislead."""
    rng = np.random.default_rng(1)
    hits: dict[str, int] = dict.fromkeys(METRICS, 0)
    for _ in range(150):
        known, labels = drawn(rng, 2000, 0.0)
        now, truth = drawn(rng, 500, 1.5)
        if scores == "not calibrated":
            known, now = known**2, now**2
        found = estimate(known, labels, now)
        real = realised_classification(truth, (now >= 0.5).astype(int), now)
        for name, hit in within(found, real).items():
            hits[name] += hit
    assert min(hits.values()) >= 135, hits


def test_several_classes_lie_within_the_interval_too() -> None:
    rng = np.random.default_rng(2)
    hits: dict[str, int] = dict.fromkeys(METRICS, 0)
    for _ in range(100):
        known, labels = three_classes(rng, 2000, 0.0)
        now, truth = three_classes(rng, 500, 1.0)
        found = estimate(known, labels, now)
        for name, hit in within(found, realised_classification(truth, now.argmax(axis=1), now)).items():
            hits[name] += hit
    assert min(hits.values()) >= 90, hits


def test_the_estimate_follows_data_that_get_harder_and_is_blind_where_their_meaning_changes() -> None:
    rng = np.random.default_rng(3)
    known, labels = drawn(rng, 5000, 0.0)
    hard = rng.uniform(0.4, 0.6, 2000)
    assert (
        estimate(known, labels, hard)["accuracy"]["upper"]
        < estimate(known, labels, known)["accuracy"]["lower"]
    )
    now, truth = drawn(rng, 2000, 0.0)
    found = estimate(known, labels, now)["accuracy"]
    turned = realised_classification(1 - truth, (now >= 0.5).astype(int))["accuracy"]
    assert turned["value"] < found["lower"] - 0.3, "the labels have turned round and nothing tells it"


def test_sampling_errors_are_about_what_the_estimates_miss_by() -> None:
    rng = np.random.default_rng(4)
    missed: dict[str, list[float]] = {name: [] for name in METRICS}
    for _ in range(150):
        known, labels = drawn(rng, 5000, 0.0)
        now, truth = drawn(rng, 400, 0.8)
        found, real = estimate(known, labels, now), realised_classification(truth, (now >= 0.5) * 1, now)
        for name in METRICS:
            missed[name].append((found[name]["value"] - real[name]["value"]) / found[name]["sampling_error"])
    for name, ratios in missed.items():
        assert abs(np.mean(ratios)) < 0.4, name
        assert 0.75 < np.std(ratios) < 1.3, name


def test_with_certain_scores_the_estimate_is_the_realised_figure() -> None:
    """Where every probability is 0 or 1 the expected confusion matrix is the matrix itself."""
    labels = [0, 1] * 500
    found = estimate(labels, labels, [0.0, 0.0, 1.0, 1.0])
    assert [found[name]["value"] for name in METRICS] == [1.0] * 5


def test_the_area_under_the_curve_is_that_of_all_pairs() -> None:
    """Against the definition: of pairs of different rows, the expected share with the positive above."""
    rng = np.random.default_rng(5)
    known, labels = drawn(rng, 4000, 0.0)
    assert calibration(known, labels)["is_calibrated"], "so the scores are the probabilities"
    now = np.round(drawn(rng, 60, 0.0)[0], 1)
    above = (now[:, None] > now) + 0.5 * (now[:, None] == now)
    pairs = now[:, None] * (1 - now) * (1 - np.eye(60))
    expected = (pairs * above).sum() / pairs.sum()
    assert estimate(known, labels, now)["roc_auc"]["value"] == pytest.approx(expected, abs=1e-12)


def test_two_columns_tell_what_one_tells_of_the_accuracy() -> None:
    rng = np.random.default_rng(6)
    known, labels = drawn(rng, 3000, 0.0)
    now, _ = drawn(rng, 300, 0.0)
    one = estimate(known, labels, now)["accuracy"]["value"]
    two = estimate(np.stack((1 - known, known), 1), labels, np.stack((1 - now, now), 1))["accuracy"]["value"]
    assert two == pytest.approx(one, abs=1e-9)


def test_classes_have_names_and_rows_may_be_missing() -> None:
    rng = np.random.default_rng(7)
    known, labels = drawn(rng, 1000, 0.0)
    names: list[Any] = np.array(["ok", "defect"])[labels].tolist()
    named = estimate(known.tolist(), names, known, classes=["ok", "defect"])
    assert named == estimate(known, labels, known)
    holes = [*known.tolist(), None, 0.5]
    assert estimate(holes, [*names, "ok", None], [*known, math.nan], classes=["ok", "defect"]) == named


def test_labels_that_pandas_does_not_have_are_missing() -> None:
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(3)
    scores = rng.random(300)
    labels = (rng.random(300) < scores).astype(int).tolist()
    some = [None if row % 3 else label for row, label in enumerate(labels)]
    there = estimate(scores, some, scores)
    assert estimate(scores, [pandas.NA if one is None else one for one in some], scores) == there
    assert estimate(scores, pandas.Series(some, dtype="Int64", index=range(7, 307)), scores) == there


def test_where_nothing_is_predicted_the_precision_has_no_value() -> None:
    rng = np.random.default_rng(8)
    known, labels = drawn(rng, 1000, 0.0)
    found = estimate(known, labels, rng.uniform(0.0, 0.4, 100))
    assert found["precision"] == {"value": None, "sampling_error": None, "lower": None, "upper": None}
    assert found["recall"]["value"] == found["f1"]["value"] == 0.0
    assert list(found) == METRICS


BAD: dict[str, tuple[Any, Any, Any, Any, str]] = {
    "empty reference": ([], [], [0.5], None, "has 0 rows with score and label and 20 are needed"),
    "one class": ([0.2] * 30, [0] * 30, [0.5], None, "every reference label is 0"),
    "lengths": ([0.2] * 30, [0] * 29, [0.5], None, "30 reference scores and 29 reference labels"),
    "scores beyond 1": ([2.0] * 30, [0, 1] * 15, [0.5], None, "probabilities from 0 to 1"),
    "current beyond 1": ([0.2] * 30, [0, 1] * 15, [-1.0], None, "probabilities from 0 to 1"),
    "no current": ([0.2] * 30, [0, 1] * 15, [], None, "no row with a score"),
    "all missing": ([math.nan] * 30, [0, 1] * 15, [0.5], None, "has 0 rows"),
    "names": ([0.2] * 30, ["a", "b"] * 15, [0.5], None, "name all with classes="),
    "too many names": ([0.2] * 30, ["a", "b"] * 15, [0.5], ["a", "b", "c"], "names 3 classes"),
    "text": (["x"] * 30, [0, 1] * 15, [0.5], None, "must be numbers"),
    "no sequence": (0.5, [0, 1] * 15, [0.5], None, "must be a list or an array"),
    "columns": ([[0.2, 0.8]] * 30, [0, 1] * 15, [0.5], None, "have 1 columns and the reference has 2"),
    "ragged": ([[0.2, 0.8], [0.1]] * 15, [0, 1] * 15, [0.5], None, "rows of equal length"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_estimated_is_one_sentence(case: str) -> None:
    scores, labels, now, classes, words = BAD[case]
    with pytest.raises(DataError, match=words) as caught:
        estimate(scores, labels, now, classes=classes)
    assert "\n" not in str(caught.value)


# - calibration -


def test_the_expected_calibration_error_is_that_of_its_definition() -> None:
    scores, labels = [0.2] * 50 + [0.9] * 50, [0] * 30 + [1] * 20 + [1] * 45 + [0] * 5
    found = calibration(scores, labels)
    assert found["rows"] == 100
    assert found["error"] == pytest.approx(0.5 * abs(0.2 - 0.4) + 0.5 * abs(0.9 - 0.9))


def test_a_calibrated_model_is_seldom_taken_for_one_that_is_not() -> None:
    """At a level of 5 %: 40 of 400 would have a probability below 1e-4."""
    rng = np.random.default_rng(9)
    wrong = sum(not calibration(*drawn(rng, 1000, 0.0))["is_calibrated"] for _ in range(400))
    assert wrong < 40


def test_overconfident_scores_are_found_and_mended() -> None:
    rng = np.random.default_rng(10)
    chance, labels = drawn(rng, 5000, 0.0)
    scores = 1 / (1 + (1 / chance - 1) ** 3)
    found = calibration(scores, labels)
    assert not found["is_calibrated"]
    assert found["error"] > 3 * found["error_calibrated"]


def test_isotonic_regression_is_that_of_scikit_learn() -> None:
    isotonic_ = pytest.importorskip("sklearn.isotonic")
    from edge_mlops_monitor.performance.calibrating import isotonic

    rng = np.random.default_rng(11)
    scores = rng.uniform(size=300)
    truth = (rng.uniform(size=300) < scores).astype(float)
    fitted = np.unique(isotonic_.IsotonicRegression().fit(scores, truth).predict(scores))
    assert isotonic(scores, truth)[1] == pytest.approx(fitted.tolist(), abs=1e-12)


# - DLE -


def measured(rng: Any, rows: int, shift: float) -> tuple[Array, Array]:
    """Features and errors whose size depends on two of them."""
    table = rng.normal(size=(rows, 4))
    table[:, 0] += shift
    size = np.exp(0.4 * np.clip(table[:, 0], -2, 2)) * (1 + 0.5 * (table[:, 1] > 0))
    return table, rng.normal(size=rows) * size


def test_errors_that_grow_with_the_data_are_within_the_interval() -> None:
    rng = np.random.default_rng(12)
    hits = {"mae": 0, "rmse": 0}
    for _ in range(40):
        table, errors = measured(rng, 3000, 0.0)
        now, truth = measured(rng, 500, 0.7)
        found = estimate_error(table, errors, now)
        real = {"mae": np.abs(truth).mean(), "rmse": np.sqrt((truth**2).mean())}
        for name in hits:
            hits[name] += found[name]["lower"] <= real[name] <= found[name]["upper"]
        assert found["mae"]["value"] > 1.1 * np.abs(errors).mean(), "it follows the data"
    assert min(hits.values()) >= 34, hits


def test_errors_that_depend_on_nothing_are_estimated_by_their_mean() -> None:
    rng = np.random.default_rng(13)
    errors = rng.normal(size=2000)
    found = estimate_error(rng.normal(size=(2000, 3)), errors, rng.normal(size=(400, 3)))
    assert found["mae"]["value"] == pytest.approx(np.abs(errors).mean(), rel=0.1)
    constant = estimate_error(np.ones(200), np.full(200, 2.0), [1.0, 5.0])
    assert constant["mae"]["value"] == pytest.approx(2.0)
    assert constant["rmse"]["value"] == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("reference", "errors", "now", "words"),
    [
        ([], [], [1.0], "has 0 rows with an error and 100 are needed"),
        ([1.0] * 200, [1.0] * 199, [1.0], "200 reference inputs and 199 reference errors"),
        ([1.0] * 200, [math.nan] * 200, [1.0], "has 0 rows with an error"),
        ([[1.0, 2.0]] * 200, [1.0] * 200, [1.0], "inputs have 1 features where the reference has 2"),
        ([1.0] * 200, [1.0] * 200, [], "no row to estimate"),
        ([1.0] * 200, [1e200] * 200, [1.0], "larger unit"),
        (["a"] * 200, [1.0] * 200, [1.0], "must be numbers"),
    ],
)
def test_errors_that_cannot_be_estimated_are_one_sentence(
    reference: Any, errors: Any, now: Any, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        estimate_error(np.array(reference), errors, np.array(now))


def test_missing_features_are_taken() -> None:
    table = np.where(np.arange(400) % 7 == 0, np.nan, np.arange(400.0))
    found = estimate_error(np.stack((table, np.full(400, np.nan)), 1), np.ones(400), [[math.nan, math.nan]])
    assert found["mae"]["value"] == pytest.approx(1.0)
