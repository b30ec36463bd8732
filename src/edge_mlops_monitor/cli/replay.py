"""`replay`: what would have been reported, and when."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_mlops_monitor.cli.columns import column_options, selection
from edge_mlops_monitor.cli.configurations import SET, compare_option, configurations
from edge_mlops_monitor.cli.drift import DRIFT
from edge_mlops_monitor.cli.options import Within, config_option, exit_code_option, json_option, load
from edge_mlops_monitor.cli.output import duration, number, print_json, rows, say, table, utc
from edge_mlops_monitor.cli.performance import performance_told
from edge_mlops_monitor.cli.progress import shares
from edge_mlops_monitor.cli.recommended import recommended
from edge_mlops_monitor.cli.truth import changes_column_option, changes_option, truth_told

if TYPE_CHECKING:
    from edge_mlops_monitor.replay import Replay
    from edge_mlops_monitor.scoring import Change


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
    type=Within(1, 1e15),
    metavar="N",
    help="The budget as predictions between two false alarms of the whole device.",
)
@click.option(
    "--false-alarms-per-month",
    type=Within(0, 100_000, min_open=True),
    metavar="N",
    help="The budget by the time in the data.",
)
@changes_option
@changes_column_option
@compare_option
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw evidence, alarms and known changes over time: .html, .svg or .png.",
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
    compared: tuple[str, ...],
    changes: list[Change] | None,
    changes_column: str | None,
    plot: Path | None,
    **columns: Any,
) -> int:
    """Show what the device would have reported on recorded DATA.

    The decisions of the device are run over the file; nothing is stored.
    """
    from edge_mlops_monitor import replay as replaying
    from edge_mlops_monitor import timeline

    config = load(config_path)
    _only_one(
        "one budget", average_run_length=average_run_length, false_alarms_per_month=false_alarms_per_month
    )
    _only_one("one truth", changes=changes, changes_column=changes_column)
    if plot is not None:
        timeline.check(plot)
    reference = reference_path or config.drift_detection.reference_data_path or None
    settings = configurations(config, _budget_given(average_run_length, false_alarms_per_month), compared)
    chosen = selection({**columns, "changes": changes_column})
    with shares(f"replaying {data.name}") as progress:
        found = replaying.compare(
            data, settings, reference, chosen, changes=changes, trace=plot is not None, progress=progress
        )
    if plot is not None:
        _draw(plot, data, found)
    if as_json:
        print_json(_plain(found))
    else:
        say(_told(found))
    return DRIFT if exit_code and found[SET].alarms else 0


def _draw(plot: Path, data: Path, found: dict[str, Replay]) -> None:
    from edge_mlops_monitor.timeline import draw

    draw(plot, found[SET], f"{data.name}, budget: {_budget(found[SET].budget)}", _told(found))


def _only_one(what: str, **given: Any) -> None:
    if all(value is not None for value in given.values()):
        options = " or ".join(f"--{name.replace('_', '-')}" for name in given)
        raise click.UsageError(f"there is {what}: give {options}", click.get_current_context())


def _budget_given(run_length: float | None, per_month: float | None) -> dict[str, Any]:
    """The budget of the command line, which takes the place of the config's."""
    if run_length is not None:
        return {"average_run_length": run_length}
    return {} if per_month is None else {"average_run_length": None, "false_alarms_per_month": per_month}


def _plain(found: dict[str, Replay]) -> dict[str, Any]:
    """The answer under the configuration that is set, and under `compared` those of the others."""
    others = [{"name": name, **one.to_dict()} for name, one in found.items() if name != SET]
    return {**found[SET].to_dict(), "compared": others}


def _told(replays: dict[str, Replay]) -> str:
    found = replays[SET]
    head = [("replayed", _extent(found)), ("budget", _budget(found.budget))]
    if found.out_of_order:
        told = (
            f"{number(found.out_of_order)} rows are earlier than one before them; sort the file by its time"
        )
        head.append(("order", told))
    if found.absent:
        head.append(
            ("not there", f"{', '.join(found.absent)}: in the reference, but no column that was chosen")
        )
    head.append(("alarms", number(len(found.alarms)) if found.alarms else "none"))
    parts = [rows(head)]
    reported = sorted([*found.alarms, *found.recoveries], key=lambda finding: int(finding["index"]))
    if reported:
        parts.append(rows([_when(finding, found) for finding in reported]))
    if len(replays) > 1:
        parts.append(_compared(replays))
    if found.truth is not None:
        parts.append(truth_told(replays))
    if found.performance:
        parts.append(performance_told(found.performance))
    if found.recommendation is not None:
        parts.append(recommended(found.recommendation))
    for words, names in (
        ("Not enough reference, so nothing was decided about", found.not_enough_reference),
        ("Still learning at the end", found.learning),
        ("Not enough rows, so nothing was decided about", found.not_enough_data),
    ):
        if names:
            listed = [(name, found.missing.get(name, "")) for name in names]
            parts.append(f"{words}\n{rows(listed, indent=2)}")
    return "\n\n".join(parts)


def _compared(replays: dict[str, Replay]) -> str:
    """One line for each configuration."""
    lines = []
    for name, found in replays.items():
        first = f"row {number(found.alarms[0]['index'])}" if found.alarms else ""
        features = {(alarm["source"], alarm["feature"]) for alarm in found.alarms}
        undecided = len(found.not_enough_reference) + len(found.learning)
        counts = [number(count) for count in (len(found.alarms), len(features), undecided)]
        lines.append([name, counts[0], first, *counts[1:]])
    told = table(["configuration", "alarms", "first", "features", "undecided"], lines)
    reasons = [
        (f"{name}:", found.missing[found.not_enough_reference[0]])
        for name, found in replays.items()
        if name != SET and found.not_enough_reference
    ]
    return f"{told}\n\n{rows(reasons)}" if reasons else told


def _extent(found: Replay) -> str:
    text = f"{number(found.predictions)} prediction{'' if found.predictions == 1 else 's'}"
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
