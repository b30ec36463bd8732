"""The end of the demo: what was injected and reported, what arrived, what it cost, what to type next."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edge_mlops_monitor.cli.output import megabytes, number
from edge_mlops_monitor.demo.chart import Chart, names
from edge_mlops_monitor.demo.play import Played
from edge_mlops_monitor.demo.pump import FLOW
from edge_mlops_monitor.demo.scene import CONFIG, RECORDED, Scene

PROGRAM = "edge-mlops-monitor"
NAME_COLUMNS = 16


def show(console: Console, scene: Scene, played: Played, story: dict[str, Any]) -> None:
    """Print the summary."""
    parts: list[tuple[str, RenderableType]] = [
        ("The run, from left to right", timeline(scene, played, story, console.width)),
        ("Injected, and how much later it was reported", injections(story)),
        ("Stored and uploaded", delivery(story)),
        ("What a prediction costs", cost(story)),
    ]
    for title, content in parts:
        console.print(Text(f"\n{title}", "bold"))
        console.print(Padding(content, (0, 0, 0, 2)))
    console.print(Text("\nWhat to type next", "bold"))
    for line in next_commands(scene.folder):  # unbroken, to be copied
        console.print(f"  {line}", soft_wrap=True, highlight=False, markup=False)
    console.print()
    console.print(verdict(story))


def timeline(scene: Scene, played: Played, story: dict[str, Any], width: int) -> RenderableType:
    """The sensors, the answers, the network and what waited, with marks where something was reported."""
    chart = Chart(scene, max(24, min(90, width - NAME_COLUMNS - 6)))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, min_width=NAME_COLUMNS - 2)
    table.add_column(no_wrap=True)
    table.add_row("", chart.axis())
    for name in names():
        table.add_row(name, chart.sensor(name, played))
    table.add_row(f"{FLOW} *", chart.answers(played))
    table.add_row("network", chart.network(played))
    table.add_row("not uploaded", chart.waiting(played))
    injected = [one["index"] for one in story["injected"]]
    table.add_row("injected", chart.marks(injected, "▼", "magenta"))
    reported = [event["data"]["row"] for event in story["events"] if "row" in event["data"]]
    table.add_row("reported", chart.marks(reported, "▲", "bold red"))
    note = f"* the model's estimate, R² {scene.explained:.2f}; the pump and the network are simulated"
    return Group(table, Text(note, "dim"))


def injections(story: dict[str, Any]) -> RenderableType:
    """One row for each thing that was injected, and for each alarm that followed from it or from nothing."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim", show_edge=False)
    for name in ("at", "injected", "reported by the monitor", "predictions", "seconds"):
        table.add_column(name, justify="left" if name in ("injected", "reported by the monitor") else "right")
    told = {one["reported"]["event"] for one in story["injected"] if _has_event(one)}
    others = [event for event in story["events"] if event["severity"] != "info" and event["id"] not in told]
    for one in story["injected"]:
        found = one["reported"] or {}
        table.add_row(f"{one['seconds']:.1f} s", one["what"], _finding(one, story), *_delays(found))
        for event in others:
            if event["cause"] == one["name"]:
                table.add_row("", f"  so {_subject(event)}", _short(event), *_delays(_after(event, one)))
    for event in others:
        if event["cause"] is None:
            table.add_row("", Text("nothing: a false alarm", "bold red"), _short(event), "", "")
    return Group(table, *_comments(story))


def _comments(story: dict[str, Any]) -> list[Text]:
    false, budget, model = story["false_alarms"], story["false_alarms_per_month"], story["model"]
    right, wrong = (
        f"{model[key]:.1f} {model['unit']}" for key in ("mean_error_before", "mean_error_shifted")
    )
    count = Text(str(false), "bold red" if false else "bold green")
    note = Text(f"  (the budget is {budget:g} a month for the whole device)", "dim")
    return [
        Text("false alarms: ").append_text(count).append_text(note),
        Text(f"the shift matters: the model is wrong by {wrong} since, by {right} before"),
    ]


def _has_event(one: dict[str, Any]) -> bool:
    return one["reported"] is not None and "event" in one["reported"]


def _finding(one: dict[str, Any], story: dict[str, Any]) -> Text:
    found = one["reported"]
    if found is None:
        return Text("nothing", "bold red")
    if "event" in found:
        return _short(next(event for event in story["events"] if event["id"] == found["event"]))
    if "waiting_records" in found:
        return Text(f"{number(found['waiting_records'])} records waited")
    return Text("all that waited uploaded", "green")


def _subject(event: dict[str, Any]) -> str:
    return str(event["data"].get("feature", "")).partition(".")[2]


def _short(event: dict[str, Any]) -> Text:
    """The event in a few words, from its figures."""
    data = event["data"]
    if event["type"] == "stuck":
        return Text(f"alarm: stuck at {data['value']:g}", "red")
    if event["type"] == "drift":
        return Text(f"alarm: {data['effect']:+.2f} {data['effect_unit']}", "red")
    if event["type"] == "recovery":
        return Text(f"no longer {data['of']}", "green")
    return Text(f"{event['severity']}: {event['message']}", "red")


def _after(event: dict[str, Any], cause: dict[str, Any]) -> dict[str, Any]:
    heard = event["heard"]
    return {
        "delay_predictions": event["data"]["row"] - cause["index"],
        "delay_seconds": None if heard is None else heard - cause["ts"],
    }


def _delays(found: dict[str, Any]) -> tuple[str, str]:
    predictions, seconds = found.get("delay_predictions"), found.get("delay_seconds")
    return (
        "" if predictions is None else number(predictions),
        "" if seconds is None else f"{seconds:.1f} s",
    )


def delivery(story: dict[str, Any]) -> RenderableType:
    """What was stored, and what arrived."""
    there = story["delivery"]
    stored, arrived = there["stored"], there["uploaded"].get("predictions", 0)
    counts = f"{number(stored['predictions'])} predictions, {number(stored['system'])} system metrics"
    findings = number(stored["drift"] + stored["events"])
    objects = f"{there['objects']} objects, {megabytes(there['bytes'])}"
    once = f"twice: {there['twice']}  missing: {there['missing']}  given up: {there['given_up']}"
    return pairs(
        ("stored", f"{counts}, {findings} findings; {megabytes(there['database_bytes'])} on disk"),
        ("uploaded", f"{number(arrived)} predictions and all the rest; {objects}"),
        ("read back", f"as answered: {number(there['predictions_as_answered'])}  {once}"),
    )


def cost(story: dict[str, Any]) -> RenderableType:
    """The monitor's share of a call, beside its floor."""
    spent = story["cost"]
    call = f"median {spent['median_us']:5.1f} us  p99 {spent['p99_us']:5.1f} us  in each call"
    floor = f"median {spent['floor_median_us']:5.1f} us  p99 {spent['floor_p99_us']:5.1f} us"
    return pairs(
        ("monitor", call),
        ("floor", f"{floor}  to encode the same and append it"),
        ("", f"measured in this run, each after a wait of {1e3 / story['rate']:.1f} ms"),
    )


def pairs(*rows: tuple[str, str]) -> Table:
    """Names and texts beside each other."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, text in rows:
        table.add_row(Text(name, "dim"), text)
    return table


def verdict(story: dict[str, Any]) -> Text:
    """One line: whether the story came out as it should."""
    if story["ok"]:
        return Text(
            "Everything injected was found, nothing else was reported, and all of it arrived once.",
            "bold green",
        )
    wrong = [f"'{one['what']}' was not reported" for one in story["injected"] if one["reported"] is None]
    if story["false_alarms"]:
        wrong.append(f"there were {story['false_alarms']} false alarms")
    if not story["delivery"]["complete"]:
        wrong.append("what was uploaded is not what was stored")
    return Text(f"It did not come out as it should: {'; '.join(wrong)}.", "bold red")


def next_commands(folder: Path) -> list[str]:
    """Commands that work on what the demo left behind."""
    program = _program()
    config, recorded = (shlex.quote(str(folder / name)) for name in (CONFIG, RECORDED))
    return [
        f"{program} status --config {config}",
        f"{program} export --kind events --config {config}",
        f"{program} replay {recorded} --timestamp ts --config {config}",
    ]


def _program() -> str:
    """How the command is called here: by its name where the shell finds it, else by its path."""
    beside = os.path.join(os.path.dirname(sys.executable), PROGRAM)
    if not os.path.exists(beside):
        return f"{shlex.quote(sys.executable)} -m edge_mlops_monitor"
    found = shutil.which(PROGRAM)
    if found and os.path.samefile(found, beside):
        return PROGRAM
    near = os.path.relpath(beside)
    return shlex.quote(beside if near.startswith("..") else near)
