"""CONTRIBUTING.md taken at its word: its parts are added to a copy of the project, its checks run there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_mlops_monitor.drift import METHODS
from edge_mlops_monitor.system import COLLECTORS
from edge_mlops_monitor.telemetry.sinks import SINKS

PROJECT = Path(__file__).resolve().parents[1]
TEXT = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
STEP = re.compile(r'^```\w+ title="([^",]+)(?:, below ([^"]+))?"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
CHECKS = re.search(r"^\$ \.venv/bin/python -m pytest (tests/.+)$", TEXT, re.MULTILINE)
ADDED = {"archive": SINKS, "processes": COLLECTORS, "cliffs_delta": METHODS}


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with every step of CONTRIBUTING.md taken, as it is written."""
    copy = tmp_path_factory.mktemp("project")
    nothing = shutil.ignore_patterns("__pycache__", "site", "results")
    for folder in ("src", "tests", "docs"):
        shutil.copytree(PROJECT / folder, copy / folder, ignore=nothing)
    shutil.copy(PROJECT / "pyproject.toml", copy)
    for path, below, text in STEP.findall(TEXT):
        take(copy / path, below, text)
    for command in re.findall(r"^\$ \.venv/bin/python (docs/\S+)$", TEXT, re.MULTILINE):
        pytest.importorskip("griffe", reason="the documentation tools are not installed")
        run(copy, command)
    return copy


def take(file: Path, below: str, text: str) -> None:
    """One step: write a new file, or put lines below the first line that holds the given words."""
    if not below:
        assert not file.exists(), f"{file.name} is there already"
        file.write_text(text, encoding="utf-8")
        return
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    place = next((number for number, line in enumerate(lines, 1) if below in line), None)
    assert place, f"{file.name} has no line with {below}"
    file.write_text("".join([*lines[:place], text, *lines[place:]]), encoding="utf-8")


def run(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def test_each_kind_of_part_is_shown() -> None:
    assert sum(1 for _, below, _ in STEP.findall(TEXT) if not below) == len(ADDED)
    assert [name for name, registry in ADDED.items() if name in registry] == [], "show another one"


def test_added_parts_pass_the_checks_that_the_document_names(extended: Path) -> None:
    assert CHECKS
    printed = run(extended, "-m", "pytest", "-vv", "-p", "no:cacheprovider", *CHECKS[1].split())
    for name in ADDED:
        checked = re.findall(rf"\[(?:\S+-)?{name}(?:-\S+)?\] PASSED", printed)
        assert len(checked) >= 5, f"the contract was not checked on {name}"


def test_an_added_collector_is_in_the_reference(extended: Path) -> None:
    page = (extended / "docs" / "system-metrics.md").read_text(encoding="utf-8")
    assert "| `system.process.count` | `{process}` | updowncounter | Processes that there are |" in page


def test_the_examples_of_added_parts_run(extended: Path) -> None:
    files = [path for path, below, _ in STEP.findall(TEXT) if not below]
    run(extended, "-m", "pytest", "-p", "no:cacheprovider", *files)


def test_added_parts_are_clean(extended: Path) -> None:
    pytest.importorskip("ruff", reason="ruff is not installed")
    files = [path for path, below, _ in STEP.findall(TEXT) if not below]
    run(extended, "-m", "ruff", "check", "--no-cache", *files)
    run(extended, "-m", "ruff", "format", "--no-cache", "--check", *files)
