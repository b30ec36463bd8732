"""The workflows: pinned, with few rights, found sound by zizmor, and running commands that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

WORKFLOWS = ("docs", "release", "tests")


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest) -> Path:
    return request.config.rootpath / ".github"


def workflow(folder: Path, name: str) -> dict[Any, Any]:
    read: dict[Any, Any] = yaml.safe_load((folder / "workflows" / f"{name}.yml").read_text())
    return read


def steps(folder: Path, name: str) -> list[dict[str, Any]]:
    return [step for job in workflow(folder, name)["jobs"].values() for step in job["steps"]]


def test_there_are_the_three_workflows(folder: Path) -> None:
    assert sorted(path.stem for path in (folder / "workflows").iterdir()) == list(WORKFLOWS)


def test_zizmor_finds_nothing(folder: Path) -> None:
    program = Path(sys.executable).with_name("zizmor")
    if not program.is_file():
        pytest.skip("zizmor is not installed")
    done = subprocess.run([program, "--offline", str(folder)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No findings to report" in done.stdout


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_action_is_pinned_by_its_full_hash_with_its_version_beside(folder: Path, name: str) -> None:
    lines = (folder / "workflows" / f"{name}.yml").read_text().splitlines()
    used = [line.split("uses:", 1)[1].strip() for line in lines if "uses:" in line]
    assert used
    assert [
        one for one in used if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one)
    ] == []


def test_an_action_has_one_hash_everywhere(folder: Path) -> None:
    pins = {step["uses"] for name in WORKFLOWS for step in steps(folder, name) if "uses" in step}
    names = [pin.split("@")[0] for pin in pins]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", WORKFLOWS)
def test_rights_are_given_job_by_job_and_few(folder: Path, name: str) -> None:
    read = workflow(folder, name)
    assert read["permissions"] == {}
    for job_name, job in read["jobs"].items():
        rights = dict(job["permissions"])
        runs_our_code = any("run" in step and "make" in step["run"] for step in job["steps"])
        if runs_our_code:
            assert rights == {"contents": "read"}, job_name
        allowed = {"contents", "id-token", "attestations", "pages"}
        assert set(rights) <= allowed
        assert job["timeout-minutes"] <= 60


def test_the_tests_run_on_every_python_and_both_architectures(folder: Path) -> None:
    matrix = workflow(folder, "tests")["jobs"]["whole"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.10", "3.11", "3.12", "3.13"]
    assert matrix["machine"] == ["ubuntu-24.04", "ubuntu-24.04-arm"]


def test_a_release_goes_to_production_after_the_test_index_only(folder: Path) -> None:
    jobs = workflow(folder, "release")["jobs"]
    order = ["build", "to-test", "verify-test", "to-production", "verify-production", "announce"]
    assert list(jobs) == order
    assert [jobs[name].get("needs") for name in order] == [None, *order[:-1]]
    uploads = [step["with"] for name in ("to-test", "to-production") for step in jobs[name]["steps"][1:]]
    assert all(one["attestations"] and "password" not in one for one in uploads)
    assert [jobs[name]["environment"] for name in ("to-test", "to-production")] == ["testpypi", "pypi"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_commands_in_the_workflows_exist(folder: Path, name: str) -> None:
    makefile = (folder.parent / "Makefile").read_text()
    text = "\n".join(step["run"] for step in steps(folder, name) if "run" in step)
    targets = re.findall(r"\bmake ([a-z-]+)", text)
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []
    listed = (folder.parent / "release" / "__main__.py").read_text()
    commands = re.findall(r"-m release ([a-z]+)", text)
    assert [one for one in commands if f'"{one}"' not in listed] == []
    assert targets or commands


def test_dependabot_looks_after_actions_and_packages(folder: Path) -> None:
    updates = yaml.safe_load((folder / "dependabot.yml").read_text())["updates"]
    assert {update["package-ecosystem"] for update in updates} == {"github-actions", "pip"}
