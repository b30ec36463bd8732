"""What is known to have happened in recorded data, as options and as told beside what was reported."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from edge_mlops_monitor.cli.output import duration, number, table

if TYPE_CHECKING:
    from edge_mlops_monitor.scoring import Change

    ChangesType = click.ParamType[list[Change]]
else:
    ChangesType = click.ParamType  # which takes no parameter in click before 8.4

CHANGE = re.compile(r"(?:(?P<feature>.+)@)?(?P<start>\d+)(?:-(?P<end>\d+))?")
BASELINES = {"never": "never fires", "always": "always fires", "periodic": "fires as often, evenly"}


class Changes(ChangesType):
    """Rows at which something changed: `1000,5000`, `temperature@1000`, `1000-1500` (changed back)."""

    name = "changes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[Change]:
        """The changes."""
        from edge_mlops_monitor.scoring import Change

        if isinstance(value, list):
            return value
        found = []
        for text in filter(None, (part.strip() for part in value.split(","))):
            match = CHANGE.fullmatch(text)
            end = int(match["end"]) if match and match["end"] else None
            if match is None or (end is not None and end <= int(match["start"])):
                self.fail(f"'{text}' is no change; write a row (1000), rows (1000-1500) or temperature@1000")
            found.append(Change(int(match["start"]), end, match["feature"]))
        return found


changes_option = click.option(
    "--changes",
    type=Changes(),
    metavar="ROW,...",
    help="Rows (from 0) at which something changed; FEATURE@ROW for one feature, ROW-ROW if it changed back.",
)
changes_column_option = click.option(
    "--changes-column",
    metavar="NAME",
    help="Column that is not 0 (or, as text, not as in the first row) where something is changed.",
)


def truth_told(found: Mapping[str, Any]) -> str:
    """What became of each known change, and the figures of each configuration beside the baselines."""
    first = next(iter(found.values()))
    parts = [
        "Known changes",
        table(["change", "found", "after"], [_change(one) for one in first.truth["changes"]]),
    ]
    if not first.truth["changes"]:
        parts = ["Nothing is known to have changed, so every alarm is false"]
    judged = {name: one.truth for name, one in found.items()}
    judged |= {BASELINES[name]: one for name, one in first.truth["baselines"].items()}
    lines = [_figures(name, one, len(first.truth["changes"])) for name, one in judged.items()]
    parts.append(table(["", "missed", "median delay", "false alarms", _stable(first.truth)], lines))
    return "\n\n".join(["\n".join(parts[:2]), *parts[2:]])


def _change(one: Mapping[str, Any]) -> list[str]:
    named = f" of {one['feature']}" if one["feature"] else ""
    if one["alarm_index"] is None:
        return [f"row {number(one['index'])}{named}", "missed", ""]
    later = "" if one["delay_seconds"] is None else f", {duration(max(0.0, one['delay_seconds']))}"
    rows = f"{number(one['delay'])} row{'' if one['delay'] == 1 else 's'}{later}"
    return [f"row {number(one['index'])}{named}", f"row {number(one['alarm_index'])}", rows]


def _stable(truth: Mapping[str, Any]) -> str:
    """What the last column counts: in which time false alarms are."""
    return "a stable day" if truth["stable_seconds"] else "in 1000 stable rows"


def _figures(name: str, one: Mapping[str, Any], changes: int) -> list[str]:
    delay = "" if one["median_delay"] is None else f"{number(round(one['median_delay']))} rows"
    missed = f"{one['missed']} of {changes}"
    exposure = one["stable_seconds"] / 86400 if one["stable_seconds"] else one["stable_rows"] / 1000
    rate = f"{one['false_alarms'] / exposure:.3g}" if exposure else ""
    return [name, missed, delay, number(one["false_alarms"]), rate]
