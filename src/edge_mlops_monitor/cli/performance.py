"""What labels and estimates say about the models, for people."""

from __future__ import annotations

from typing import Any

from edge_mlops_monitor.cli.output import feature_name, number, rows

SHOWN = 8  # comparisons
FIRST = {"accuracy": "accuracy", "roc_auc": "ROC AUC", "f1": "F1", "mae": "mean absolute error"}
UNUSED = {
    "waiting": "wait for their prediction",
    "prediction_gone": "came when their prediction had left the device",
    "prediction_failed": "are of predictions that failed",
    "not_comparable": "are like no output",
    "superseded": "came again for the same prediction",
    "refused": "are of more models and sources than are kept",
}


def performance_told(performance: dict[str, Any]) -> str:
    """The figures of each model, and what became of labels that could not be used; empty without any."""
    lines = []
    for one in performance.get("figures", [])[:SHOWN]:
        name = feature_name(one["model"], one["model_version"], one["source"], _part(one["feature"]))
        lines += [(name, line) for line in _figures(one["realised"], f"{number(one['labelled'])} labels")]
    for one in performance.get("estimates", [])[:SHOWN]:
        name = feature_name(one["model"], one["model_version"], one["source"], "estimated")
        lines += [(name, line) for line in _figures(one["estimated"], f"{number(one['rows'])} predictions")]
    counts = performance.get("labels", {})
    lines += [
        ("labels", f"{number(counts[key])} {words}") for key, words in UNUSED.items() if counts.get(key)
    ]
    return "Performance\n" + rows(lines, indent=2) if lines else ""


def _part(feature: str) -> str:
    return feature.partition("performance.error.")[2] or "realised"


def _figures(figures: dict[str, Any], of: str) -> list[str]:
    """The foremost figures with their intervals."""
    found = []
    for name, words in FIRST.items():
        one = figures.get(name)
        if one and one["value"] is not None:
            interval = "" if one["lower"] is None else f" ({one['lower']:.3g} to {one['upper']:.3g})"
            found.append(f"{words} {one['value']:.3g}{interval}, last {of}")
    return found
