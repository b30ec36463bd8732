"""Importing does nothing: no heavy library, no file, no thread, no logging."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HEAVY = [
    "numpy",
    "scipy",
    "pandas",
    "click",
    "rich",
    "obstore",
    "pyarrow",
    "psutil",
    "yaml",
    "http.client",
    "asyncio",
]

PROGRAM = """
import json, logging, sys, threading, warnings
before = set(sys.modules)
from edge_mlops_monitor import EdgeMonitor
print(json.dumps({
    "name": EdgeMonitor.__name__,
    "modules": sorted(set(sys.modules) - before),
    "threads": [thread.name for thread in threading.enumerate()],
    "root_handlers": len(logging.getLogger().handlers),
    "handlers": [type(h).__name__ for h in logging.getLogger("edge_mlops_monitor").handlers],
    "level": logging.getLogger("edge_mlops_monitor").level,
    "loaded_loggers": logging.getLogger().level,
}))
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a fresh interpreter in an empty folder says after the import."""
    folder = tmp_path_factory.mktemp("empty")
    environment = {"HOME": str(folder), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    found["files"] = [str(path.relative_to(folder)) for path in Path(folder).rglob("*")]
    return found


def test_importing_brings_no_heavy_library(imported: dict[str, Any]) -> None:
    assert imported["name"] == "EdgeMonitor"
    assert [name for name in HEAVY if name in imported["modules"]] == []


def test_importing_creates_no_file(imported: dict[str, Any]) -> None:
    assert imported["files"] == []


def test_importing_starts_no_thread(imported: dict[str, Any]) -> None:
    assert imported["threads"] == ["MainThread"]


def test_importing_leaves_logging_to_the_host(imported: dict[str, Any]) -> None:
    assert imported["root_handlers"] == 0
    assert set(imported["handlers"]) <= {"NullHandler"}
    assert imported["level"] == 0
    assert imported["loaded_loggers"] == 30  # WARNING, as Python sets it
