"""`check`: is the config right, and can this machine do what it asks?"""

from __future__ import annotations

from pathlib import Path

import click

from edge_mlops_monitor.cli.findings import Finding, machine_findings
from edge_mlops_monitor.cli.mistakes import FAILED, WRONG_USAGE
from edge_mlops_monitor.cli.options import config_option, json_option, load, where
from edge_mlops_monitor.cli.output import plain, print_json, rows, say
from edge_mlops_monitor.errors import ConfigError

MARKS = {
    "ok": ("ok", "green"),
    "note": ("note", "cyan"),
    "warning": ("warn", "yellow"),
    "failed": ("FAIL", "red"),
}


@click.command()
@config_option
@json_option
@click.option("--offline", is_flag=True, help="Do not try to reach the sinks.")
def check(config_path: Path | None, as_json: bool, offline: bool) -> int:
    """Check the config and the machine.

    Every finding comes with its remedy; nothing is created or changed. Exit status 1 where
    something fails, 2 where the config is wrong.
    """
    try:
        config = load(config_path)
    except (ConfigError, FileNotFoundError) as error:
        mistakes = error.mistakes if isinstance(error, ConfigError) else [str(error)]
        findings = [_of_mistake(mistake) for mistake in mistakes]
        status = WRONG_USAGE
    else:
        findings = list(machine_findings(config, where(config_path), offline))
        status = FAILED if any(finding.status == "failed" for finding in findings) else 0
    _show(findings, where(config_path), as_json, status)
    return status


def _of_mistake(sentence: str) -> Finding:
    message, _, remedy = sentence.partition("; ")
    return Finding("config", "failed", message, remedy)


def _show(findings: list[Finding], path: Path | None, as_json: bool, status: int) -> None:
    if as_json:
        listed = [finding.to_dict() for finding in findings]
        print_json({"ok": status == 0, "config": None if path is None else str(path), "findings": listed})
        return
    for finding in findings:
        mark, colour = MARKS[finding.status]
        text = f"{finding.subject}: {finding.message}"
        lines = plain(rows([(mark.ljust(4), text)])).split("\n")
        click.echo(click.style(lines[0][:4], fg=colour) + "\n".join([lines[0][4:], *lines[1:]]))
        if finding.remedy:
            say(rows([("", f"-> {finding.remedy}")], indent=4))
    say("\n" + _summary(findings))


def _summary(findings: list[Finding]) -> str:
    counts = {status: sum(finding.status == status for finding in findings) for status in MARKS}
    if not counts["failed"] and not counts["warning"]:
        return "All is well."
    parts = [f"{counts[status]} {word}" for status, word in (("failed", "failed"), ("warning", "to look at"))]
    return ", ".join(part for part in parts if not part.startswith("0 ")) + f", {counts['ok']} fine."
