"""`replay`: what would have been reported, and when."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_mlops_monitor.cli.columns import column_options, selection
from edge_mlops_monitor.cli.drift import DRIFT
from edge_mlops_monitor.cli.options import config_option, exit_code_option, json_option, load
from edge_mlops_monitor.cli.output import duration, number, print_json, rows, utc
from edge_mlops_monitor.cli.progress import shares

if TYPE_CHECKING:
    from edge_mlops_monitor.config import Config
    from edge_mlops_monitor.replay import Replay


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--reference",
    "reference_path",
    type=click.Path(path_type=Path),
    metavar="REF",
    help="Reference file; without it that of the config, else one is learned from the first rows.",
)
@column_options
@click.option(
    "--average-run-length",
    type=click.FloatRange(min=1),
    metavar="N",
    help="The budget as predictions between two false alarms of the whole device.",
)
@click.option(
    "--false-alarms-per-month",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="The budget by the time in the data.",
)
@config_option
@json_option
@exit_code_option
def replay(
    data: Path,
    reference_path: Path | None,
    config_path: Path | None,
    as_json: bool,
    exit_code: bool,
    average_run_length: float | None,
    false_alarms_per_month: float | None,
    **columns: Any,
) -> int:
    """Show what the device would have reported on recorded DATA.

    The decisions of the device are run over the file; nothing is stored.
    """
    from edge_mlops_monitor import replay as replaying

    config = load(config_path)
    if average_run_length is not None and false_alarms_per_month is not None:
        raise click.UsageError(
            "there is one budget: give --average-run-length or --false-alarms-per-month",
            click.get_current_context(),
        )
    reference = reference_path or config.drift_detection.reference_data_path or None
    settings = _settings(config, average_run_length, false_alarms_per_month)
    with shares(f"replaying {data.name}") as progress:
        found = replaying.replay(data, reference, settings, selection(columns), progress=progress)
    if as_json:
        print_json(found.to_dict())
    else:
        click.echo(_told(found))
    return DRIFT if exit_code and found.alarms else 0


def _settings(config: Config, run_length: float | None, per_month: float | None) -> Any:
    """The settings of the config, with the budget of the command line in place of the config's."""
    from edge_mlops_monitor.drift.settings import Settings

    given = config.drift_detection
    found = {name: given[name] for name in Settings.__struct_fields__ if name in given}
    if run_length is not None:
        found["average_run_length"] = run_length
    elif per_month is not None:
        found |= {"average_run_length": None, "false_alarms_per_month": per_month}
    return Settings(**found)


def _told(found: Replay) -> str:
    head = [("replayed", _extent(found)), ("budget", _budget(found.budget))]
    head.append(("alarms", number(len(found.alarms)) if found.alarms else "none"))
    parts = [rows(head)]
    reported = sorted([*found.alarms, *found.recoveries], key=lambda finding: int(finding["index"]))
    if reported:
        parts.append(rows([_when(finding, found) for finding in reported]))
    for words, names in (
        ("Not enough reference, so nothing was decided about", found.not_enough_reference),
        ("Still learning at the end", found.learning),
    ):
        if names:
            listed = [(name, found.missing.get(name, "")) for name in names]
            parts.append(f"{words}\n{rows(listed, indent=2)}")
    return "\n\n".join(parts)


def _extent(found: Replay) -> str:
    text = f"{number(found.predictions)} predictions"
    if found.first_ts is None or found.last_ts is None:
        return text
    length = duration(max(0.0, found.last_ts - found.first_ts))
    return f"{text}, {utc(found.first_ts)} to {utc(found.last_ts)} ({length})"


def _budget(budget: dict[str, Any]) -> str:
    if budget["algorithm"] == "ks_test":
        return (
            f"none: ks_test with p < {budget['threshold']:g}, every {budget['check_frequency']} predictions"
        )
    if "average_run_length" in budget:
        return f"one false alarm in {number(round(budget['average_run_length']))} predictions"
    count = budget["false_alarms_per_month"]
    return f"{count:g} false alarm{'' if count == 1 else 's'} a month"


def _when(alarm: dict[str, Any], found: Replay) -> tuple[str, str]:
    moment = "" if found.first_ts is None else f"  {utc(alarm['ts'])}"
    return f"row {number(alarm['index'])}{moment}", alarm["message"]
