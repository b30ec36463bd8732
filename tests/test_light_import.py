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


DECIDES = """
import sys
from edge_mlops_monitor import EdgeMonitor
config = {
    "device_id": "named",  # else a name is made, once
    "storage": {"sqlite_path": sys.argv[1]},
    "drift_detection": {"learn_reference": 200, "learn_reference_hours": 0},
}
with EdgeMonitor(config=config) as monitor:
    for number in range(600):
        x = number * 0.618 % 1 + (number > 300)
        monitor.log_prediction({"x": x}, None, model="m", timestamp=1e9 + number)
    monitor.flush()
    monitor.check_drift()
    print(len([one for one in monitor.events() if one.severity == "alarm"]), *sys.modules)
"""


def test_deciding_brings_no_openssl_also_where_something_is_found(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", DECIDES, str(tmp_path / "m.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    alarms, *modules = done.stdout.split()
    assert int(alarms) > 0
    assert [name for name in ("_hashlib", "_ssl") if name in modules] == [], "3.4 MB of the 45 it may take"
