"""The CPythons of this machine, on PATH and in pyenv, and fresh environments made with them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from release.problem import Problem
from release.project import last_line, run

SUPPORTED = ("3.10", "3.11", "3.12", "3.13")
PROBE = """
import sys, venv, sqlite3, ssl
assert sys.implementation.name == "cpython"
print("%d.%d" % sys.version_info[:2])
"""


def default() -> str:
    """The version that runs us."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


@cache
def found() -> dict[str, str]:
    """A working CPython for each supported version that this machine has, ours first."""
    pythons = {default(): sys.executable}
    for version in SUPPORTED:
        for candidate in _candidates(version):
            if version not in pythons and _works(candidate, version):
                pythons[version] = str(candidate)
    return pythons


def _candidates(version: str) -> Iterator[Path]:
    for folder in os.get_exec_path():
        yield Path(folder) / f"python{version}"
    for root in filter(None, [os.environ.get("PYENV_ROOT"), str(Path.home() / ".pyenv")]):
        yield from sorted(Path(root).glob(f"versions/{version}.*/bin/python"))


def _works(candidate: Path, version: str) -> bool:
    if not candidate.is_file():
        return False
    try:
        done = subprocess.run([candidate, "-c", PROBE], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.strip() == version


class Environment:
    """A fresh virtual environment; whatever it runs knows nothing of the checkout."""

    def __init__(self, folder: Path, python: str) -> None:
        self.folder = folder
        self.work = folder / "work"
        done = run([python, "-I", "-m", "venv", "--without-pip", folder], cwd=folder.parent)
        if done.returncode:
            raise Problem(
                f"{python} cannot make a virtual environment ({last_line(done)}); install python3-venv."
            )
        self.work.mkdir()
        self.python = folder / "bin" / "python"

    def pip(self, *arguments: str | Path, only_index: bool = False) -> subprocess.CompletedProcess[str]:
        """Our pip at work in this environment; with `only_index` no setting adds another source."""
        env = self._env()
        if only_index:
            env = {key: value for key, value in env.items() if not re.match(r"PIP_.*(INDEX|FIND_LINKS)", key)}
            env["PIP_CONFIG_FILE"] = os.devnull
        command = [sys.executable, "-m", "pip", "--python", str(self.python), *map(str, arguments)]
        return subprocess.run(
            command,
            cwd=self.work,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
        )

    def run(self, *command: str | Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """A command of this environment, in an empty folder."""
        words = [str(word) for word in command]
        words[0] = str(self.folder / "bin" / words[0])
        return subprocess.run(
            words,
            cwd=self.work,
            env=self._env(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def site_packages(self) -> Path:
        return next(self.folder.glob("lib/python*/site-packages"))

    def _env(self) -> dict[str, str]:
        hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
        env = {
            k: v for k, v in os.environ.items() if k not in hidden and not k.startswith("EDGE_MLOPS_MONITOR")
        }
        home = {"XDG_STATE_HOME": str(self.work / "state"), "XDG_CONFIG_HOME": str(self.work / "config")}
        quiet = {
            "PIP_NO_INPUT": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_WARN_SCRIPT_LOCATION": "1",
        }
        return {**env, **home, **quiet, "NO_COLOR": "1"}


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def require(done: subprocess.CompletedProcess[str], what: str, remedy: str) -> str:
    """What a command printed; that it failed is a `Problem`."""
    if done.returncode:
        raise Problem(f"{what} failed ({last_line(done)[:300]}); {remedy}.")
    return done.stdout


def versions_text(versions: Sequence[str]) -> str:
    return ", ".join(versions)
