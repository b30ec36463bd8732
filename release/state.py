"""How far a release has come, kept in `.release/` of the checkout, which git does not see."""

from __future__ import annotations

import json
import os
from typing import Any

from release.problem import Problem
from release.project import Project


class State:
    """The steps done for one version, each with the commit it was done for."""

    def __init__(self, project: Project, version: str) -> None:
        self._folder = project.root / ".release"
        self._path = self._folder / f"{version}.json"
        self._steps: dict[str, str] = self._read()

    def commit_of(self, step: str) -> str | None:
        """The commit that the step was done for, if it was."""
        return self._steps.get(step)

    def done(self, step: str, commit: str) -> None:
        """Remember a step; on the disk before this returns, and whole or not at all."""
        self._steps[step] = commit
        self._folder.mkdir(exist_ok=True)
        (self._folder / ".gitignore").write_text("*\n")
        new = self._path.with_suffix(".new")
        with new.open("w") as file:
            json.dump({"steps": self._steps}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)

    def _read(self) -> dict[str, str]:
        try:
            found: Any = json.loads(self._path.read_text())["steps"]
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError):
            found = None
        if not isinstance(found, dict):
            raise Problem(f"{self._path} cannot be read; delete it, and every step is done again.")
        return {str(step): str(commit) for step, commit in found.items()}
