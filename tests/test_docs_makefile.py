"""`make` alone shows the few commands, and they are those that the documents name."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = ["demo", "test", "lint", "docs", "bench", "soak"]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_alone_lists_the_commands(project: Path) -> None:
    done = subprocess.run(
        ["make", "--no-print-directory"], cwd=project, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    listed = [line.split()[1] for line in done.stdout.splitlines()]
    assert [command for command in COMMANDS if command not in listed] == []
    assert all(len(line.split()) > 2 for line in done.stdout.splitlines())


def test_ci_runs_the_same_commands_as_the_documents_name(project: Path) -> None:
    script = (project / ".ci" / "run").read_text()
    assert "make lint" in script
    assert "make test" in script


def test_ci_types_every_command_of_the_guide_to_publishing(project: Path) -> None:
    typed = "pytest -m soak{} tests/test_release_rehearsal.py -k guide"
    assert typed.format(" -p no:cacheprovider") in (project / ".ci" / "run").read_text()
    assert typed.format("") in (project / ".github" / "workflows" / "tests.yml").read_text()


def test_the_changelog_fragments_make_a_changelog(project: Path) -> None:
    pytest.importorskip("towncrier")
    done = subprocess.run(
        [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "0.0.0"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    fragments = [path for path in (project / "changelog.d").glob("*.md") if path.name != "README.md"]
    for fragment in fragments:
        assert fragment.read_text().split()[0] in done.stdout
