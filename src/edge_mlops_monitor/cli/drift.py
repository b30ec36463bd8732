"""`drift`: check now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_mlops_monitor.cli.options import config_option, exit_code_option, json_option, load, open_store
from edge_mlops_monitor.cli.output import feature_name, print_json, say

if TYPE_CHECKING:
    from edge_mlops_monitor.records import DriftResult

DRIFT = 3


@click.command()
@config_option
@json_option
@exit_code_option
def drift(config_path: Path | None, as_json: bool, exit_code: bool) -> int:
    """Compare the latest predictions with the reference, now."""
    from edge_mlops_monitor.monitor import EdgeMonitor

    config = load(config_path)
    open_store(config).close()
    monitor = EdgeMonitor(config=config)
    try:
        results = monitor.check_drift()
    finally:
        monitor.stop()
    drifted = any(result.is_drift for result in results)
    if as_json:
        print_json({"drift": drifted, "results": [result.to_dict() for result in results]})
    else:
        say(_table(results) if results else _nothing())
    return DRIFT if exit_code and drifted else 0


def _nothing() -> str:
    return "Nothing to say yet: no feature has both a reference and enough predictions after it."


def _table(results: list[DriftResult]) -> str:
    """One line for each feature, those that drifted first."""
    lines = [f"{'':6}{'feature':28}{'effect':>23}  {'method':15}{'rows':>6}"]
    for result in sorted(results, key=lambda result: not result.is_drift):
        verdict = {True: "DRIFT", False: "fine", None: "?"}[result.is_drift]
        name = feature_name(result.model, result.model_version, result.source, result.feature, most=27)
        effect = "" if result.effect is None else f"{result.effect:.3g} {result.data.get('effect_unit', '')}"
        method = result.method if result.p_value is None else f"{result.method} p={result.p_value:.1g}"
        lines.append(f"{verdict:6}{name:28}{effect:>23}  {method:15}{result.sample_size:>6}")
    return "\n".join(lines)
