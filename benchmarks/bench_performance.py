"""Performance of a model: what a label costs, and the figures that labels and estimates give.

A label's cost is processor time of all threads from `log_actual` to the decision about the error, 1000 labels
at a time, for predictions that are stored already. Beside it stands the floor of any such thing: the labels
encoded and inserted into SQLite, and each prediction looked up there by its id and decoded. The figures stand
beside scikit-learn's from the same run, which gives values and no intervals.
"""

from __future__ import annotations

import importlib.util
import sqlite3
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from workload import arguments, config, cpu_seconds, figure, report, scratch

from edge_mlops_monitor import EdgeMonitor, performance
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.labelled import LabelledWatcher

ROWS, REFERENCE, FEATURES = 1000, 5000, 10
STREAM = ("model", "1", None)
AUC = "realised classification with AUC, 1000 rows"
REGRESSION = "realised regression, 1000 rows"
CBPE = "CBPE, reference of 5000 rows and 1000 without labels"
DLE = "DLE, reference of 5000 rows with 10 features and 1000 without labels"
PEERS = {
    AUC: "scikit-learn, values without intervals",
    REGRESSION: "scikit-learn, values without intervals",
    CBPE: "scikit-learn's isotonic calibration alone",
}


def milliseconds(job: Callable[[], Any], rounds: int) -> float:
    """The median of some rounds of processor time."""
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        job()
        times.append(time.process_time() - begin)
    return statistics.median(times) * 1e3


def scored(rng: np.random.Generator, rows: int) -> tuple[Any, Any]:
    """Scores of a sound model, and the labels."""
    scores = rng.uniform(size=rows)
    return scores, (rng.uniform(size=rows) < scores).astype(np.int64)


def labels(quick: bool) -> list[dict[str, Any]]:
    """Microseconds a label, on a device and for the decision alone."""
    count = 4 * ROWS if quick else 20 * ROWS
    of_device = figure(
        "CPU a labelled prediction: stored, joined, decided",
        on_device(count),
        "us",
        beside=bare(count),
        beside_is="insert into SQLite, look up by id, decode",
    )
    return [of_device, figure("the decision about the error alone", decided(count), "us")]


def on_device(count: int) -> float:
    scores, truth = scored(np.random.default_rng(0), count)
    at_once = {"learn_reference_hours": 0}  # so that errors are decided about after the first 1000
    with scratch() as folder, EdgeMonitor(config=config(folder, drift_detection=at_once)) as monitor:
        log, log_actual = monitor.log_prediction, monitor.log_actual
        ids = [log({"a": 1.0}, {"score": score}, model="m") for score in scores.tolist()]
        monitor.flush()
        monitor.check_drift()
        used = 0.0
        for begin in range(0, count, ROWS):
            part = list(zip(ids, truth.tolist(), strict=True))[begin : begin + ROWS]
            began = cpu_seconds()
            for id, label in part:
                log_actual(id, label)
            monitor.flush()
            monitor.check_drift()
            used += (cpu_seconds() - began) * (
                begin > 0
            )  # the first of them bring NumPy and are learned from
        return used / (count - ROWS) * 1e6


def bare(count: int) -> float:
    encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode
    rows = [(f"0123456789ab-{i}", encode([1.7e9 + i, {"a": 1.0}, {"score": 0.5}])) for i in range(count)]
    with scratch() as folder:
        database = sqlite3.connect(Path(folder, "floor.db"))
        database.execute("CREATE TABLE predictions (id TEXT PRIMARY KEY, row BLOB)")
        database.execute("CREATE TABLE labels (row BLOB)")
        database.executemany("INSERT INTO predictions VALUES (?, ?)", rows)
        database.commit()
        began = cpu_seconds()
        for begin in range(0, count, ROWS):
            part = [id for id, _ in rows[begin : begin + ROWS]]
            database.executemany("INSERT INTO labels VALUES (?)", [(encode([id, 1]),) for id in part])
            database.commit()
            for id in part:
                decode(database.execute("SELECT row FROM predictions WHERE id = ?", (id,)).fetchone()[0])
        used = cpu_seconds() - began
        database.close()
    return used / count * 1e6


def decided(count: int) -> float:
    scores, truth = scored(np.random.default_rng(1), count)
    watcher = LabelledWatcher(Settings(learn_reference_hours=0))
    rows = [
        watcher.row(str(i), 1.7e9 + i, {"outputs.score": score}, label)
        for i, (score, label) in enumerate(zip(scores.tolist(), truth.tolist(), strict=True))
    ]
    began = time.process_time()
    for begin in range(0, count, 250):
        watcher.update(STREAM, rows[begin : begin + 250])
    return (time.process_time() - began) / count * 1e6


def figures(quick: bool) -> list[dict[str, Any]]:
    """Milliseconds of the realised and the estimated figures."""
    rounds = 3 if quick else 11
    rng = np.random.default_rng(2)
    known, classes = scored(rng, REFERENCE)
    scores, truth = scored(rng, ROWS)
    says = (scores >= 0.5).astype(np.int64)
    inputs, now = rng.normal(size=(REFERENCE, FEATURES)), rng.normal(size=(ROWS, FEATURES))
    errors = rng.normal(size=REFERENCE) * (1 + (inputs[:, 0] > 0))
    peers = sklearns(known, classes, scores, truth, says, rounds)
    jobs: dict[str, Callable[[], Any]] = {
        AUC: lambda: performance.realised_classification(truth, says, scores),
        REGRESSION: lambda: performance.realised_regression(truth, scores),
        CBPE: lambda: performance.estimate(known, classes, scores),
        DLE: lambda: performance.estimate_error(inputs, errors, now),
    }
    return [
        figure(
            what,
            milliseconds(job, rounds),
            "ms",
            beside=peers.get(what),
            beside_is=PEERS[what] if what in peers else "",
        )
        for what, job in jobs.items()
    ]


def sklearns(known: Any, classes: Any, scores: Any, truth: Any, says: Any, rounds: int) -> dict[str, float]:
    """The same by scikit-learn; nothing where it is not installed."""
    if importlib.util.find_spec("sklearn") is None:
        return {}
    from sklearn import metrics
    from sklearn.isotonic import IsotonicRegression

    def classification() -> None:
        for metric in (
            metrics.accuracy_score,
            metrics.precision_score,
            metrics.recall_score,
            metrics.f1_score,
        ):
            metric(truth, says)
        metrics.roc_auc_score(truth, scores)

    def regression() -> None:
        metrics.mean_absolute_error(truth, scores)
        metrics.root_mean_squared_error(truth, scores)

    def calibrated() -> None:
        IsotonicRegression(out_of_bounds="clip").fit(known, classes).predict(scores)

    jobs = {AUC: classification, REGRESSION: regression, CBPE: calibrated}
    return {what: milliseconds(job, rounds) for what, job in jobs.items()}


def measure(quick: bool) -> None:
    report("performance", [*labels(quick), *figures(quick)])


if __name__ == "__main__":
    measure(arguments().quick)
