"""A release of this project, rehearsed: `make release-check`, and every command of docs/publishing.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version as installed
from pathlib import Path

import pytest
from release import rehearsal, version
from release.project import Project, run

from release_tiny import needs

needs("build", "twine", "hatchling", "zopfli", "towncrier", "cyclonedx-bom", "devpi-server", "pypiserver")

REHEARSED = "make release-check"


def commands(guide: str) -> list[str]:
    """What docs/publishing.md tells to type, in order."""
    blocks = re.findall(r"^```console\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in re.findall(r"^\$ (.+)$", block, re.MULTILINE)]


@pytest.fixture(scope="module")
def project(request: pytest.FixtureRequest) -> Project:
    if not (request.config.rootpath / ".git").exists():
        pytest.skip("not a git checkout")
    return Project(request.config.rootpath)


def test_the_guide_names_every_command_of_the_tool(project: Project) -> None:
    shown = "\n".join(commands((project.root / "docs" / "publishing.md").read_text()))
    done = run([project.root / ".venv" / "bin" / "python", "-m", "release", "--help"], cwd=project.root)
    if done.returncode:
        pytest.skip("not run from the project's .venv")
    listed = set(re.findall(r"^    ([a-z]+) ", done.stdout, re.MULTILINE)) - {"run", "rehearse", "bump"}
    assert len(listed) == 7
    assert [name for name in listed if f"-m release {name}" not in shown] == []
    assert REHEARSED in shown
    assert "make release VERSION=" in shown


def test_the_clone_has_the_commands_of_what_it_borrows(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexec '{sys.executable}' \"$@\"\n")
    python.chmod(0o755)
    rehearsal.borrow_commands(tmp_path)
    done = run([tmp_path / "devpi-server", "--version"], cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, installed("devpi-server"))


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_make_release_check_ends_well(project: Project) -> None:
    done = run(["make", "release-check"], cwd=project.root, timeout=7000)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "All of it works." in done.stdout


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_every_command_of_the_guide_runs(project: Project, tmp_path: Path) -> None:
    guide = commands((project.root / "docs" / "publishing.md").read_text())
    with rehearsal.stage(project, tmp_path, print) as here:
        root = here.clone.root
        environment = {
            **os.environ,
            **here.settings,
            "HOME": str(tmp_path),
            "PATH": f"{root}/.venv/bin{os.pathsep}{os.environ['PATH']}",
            "RELEASE_REHEARSAL": "brief",
        }
        # The guide's numbers, which are examples, become those that are due.
        first = rehearsal.following(here.clone)
        second = str(version.raised(version.parse(first), "patch"))
        for shown in guide:
            if shown == REHEARSED:
                continue
            command = shown.replace("0.2.1", second).replace("0.2.0", first)
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=root,
                env=environment,
                capture_output=True,
                text=True,
                timeout=600,
            )
            assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        remote = Project(tmp_path / "origin.git")
        assert remote.git("tag", "--list").splitlines() == [f"v{first}", f"v{second}"]
