"""The checkout that is being released, and the programs that are run in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from release.problem import Problem

TOML = "tomllib" if sys.version_info >= (3, 11) else "tomli"


@dataclass(frozen=True)
class Project:
    """A checkout: its folder, and what its pyproject.toml says."""

    root: Path

    @cached_property
    def settings(self) -> dict[str, Any]:
        return dict(import_module(TOML).loads((self.root / "pyproject.toml").read_text()))

    @property
    def name(self) -> str:
        return str(self.settings["project"]["name"])

    @property
    def package(self) -> str:
        """The import name."""
        return self.name.replace("-", "_")

    @property
    def version_file(self) -> Path:
        return self.root / str(self.settings["tool"]["hatch"]["version"]["path"])

    def git(self, *arguments: str) -> str:
        """What git answers, without the last line end."""
        done = run(["git", *arguments], cwd=self.root)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise Problem(
                f"git {arguments[0]} failed ({last}); put that right and run the same command again."
            )
        return done.stdout.rstrip("\n")

    def commit(self) -> str:
        return self.git("rev-parse", "HEAD")


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 1800,
) -> subprocess.CompletedProcess[str]:
    """Run a program with its output captured; one that is missing is a `Problem`, a failing one is not."""
    words = [str(word) for word in command]
    try:
        return subprocess.run(
            words,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    except FileNotFoundError:
        raise Problem(f"{words[0]} is not installed; install it and run the same command again.") from None
    except subprocess.TimeoutExpired:
        raise Problem(
            f"`{' '.join(words)}` did not end within {timeout:.0f} s; find out why and run the same command "
            "again."
        ) from None


def tool(
    module: str, *arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a Python tool that `make` installs (build, twine, towncrier ...) with the Python that runs us."""
    done = run([sys.executable, "-m", module, *arguments], cwd=cwd, env=env)
    if done.returncode and f"No module named {module.split('.')[0]}" in done.stderr:
        raise Problem(f"{module.split('.')[0]} is not installed; run `pip install -e '.[dev]'`.")
    return done


def install_editable(project: Project, python: str | Path) -> None:
    """Let the environment of that Python know the version that the source says now."""
    command = ["-m", "pip", "install", "--quiet", "--no-input", "--no-deps", "-e", "."]
    done = run([python, *command], cwd=project.root, env={"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    if done.returncode:
        raise Problem(f"`pip install -e .` failed ({last_line(done)}); run it by hand to see why.")


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """The line in which most tools say what went wrong."""
    lines = [line.strip() for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
    return lines[-1] if lines else "it gave no reason"
