"""An upgrade keeps what the previous release wrote: config, reference, and from 0.2.0 on the database."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from release import pythons
from release.index import Index
from release.problem import Problem
from release.project import Project
from release.pythons import Environment, require

OLDEST = "0.1.1"
OF_THE_OLDEST = ("3.10", "3.11")  # the Pythons that 0.1.1 ran on

# Runs under 0.1.1 and uses what its README documents. (Its logging of an output needs a running event loop.)
WRITE_OLDEST = """
import yaml
from edge_mlops_monitor import EdgeMonitor
from edge_mlops_monitor.config import save_default_config
save_default_config("config.yaml")
config = yaml.safe_load(open("config.yaml"))
config["storage"]["bucket"] = config["storage"].get("bucket") or "telemetry"
config["storage"]["sqlite_path"] = "edge.db"
config["drift_detection"]["reference_data_path"] = "data/reference.json"  # 0.1.1 fails without a folder
yaml.safe_dump(config, open("config.yaml", "w"))
monitor = EdgeMonitor("config.yaml", "device-1")
monitor.set_reference_data("score", [i / 1000 for i in range(1000)])
monitor.save_reference_data()
open("data/reference.json").close()
"""

# Runs under the new release on the files of 0.1.1.
READ_OLDEST = """
from edge_mlops_monitor import EdgeMonitor, load_config
config = load_config("config.yaml")
assert config["drift_detection"]["algorithm"] == "ks_test", config
assert config["storage"]["type"] == "s3" and config["storage"]["bucket"], config
monitor = EdgeMonitor("config.yaml", "device-1")
for i in range(400):
    monitor.log_model_output(monitor.log_model_input({"x": i}), {"score": 5 + i / 1000})
assert monitor.flush(60)
results = monitor.check_drift()
assert any(r.is_drift for r in results), results
assert monitor.get_status()["prediction_count"] == 400, monitor.get_status()
"""

# Runs under the previous release, from 0.2.0 on.
WRITE = """
from edge_mlops_monitor import EdgeMonitor
with EdgeMonitor("config.yaml") as monitor:
    inputs, outputs = [{"x": float(i % 7)} for i in range(500)], [{"y": float(i % 5)} for i in range(500)]
    monitor.log_predictions(inputs, outputs)
    assert monitor.flush(60)
"""

READ = """
from edge_mlops_monitor import EdgeMonitor
monitor = EdgeMonitor("config.yaml")
assert monitor.get_status()["prediction_count"] == 500, monitor.get_status()
assert next(iter(monitor.predictions())).inputs, "the inputs are gone"
monitor.log_prediction({"x": 1.0}, {"y": 2.0})
assert monitor.flush(60)
assert monitor.get_status()["prediction_count"] == 501, monitor.get_status()
monitor.stop()
"""
REMEDY = "what an earlier release wrote must keep working, so correct the package"


def check(
    project: Project, index: Index, wheel: Path, previous: str | None, *, oldest: bool = True
) -> list[str]:
    """Upgrade from 0.1.1, where pip can get it, and from the previous release; returns a line for each."""
    lines = [from_oldest(project, wheel)] if oldest else []
    if previous is not None and previous not in ("0.1.0", OLDEST):
        lines.append(from_previous(project, index, wheel, previous))
    return lines


def from_oldest(project: Project, wheel: Path) -> str:
    """Config and reference JSON of 0.1.1; its uploader and its tables are gone, as docs/upgrading.md says."""
    python = next((path for v, path in pythons.found().items() if v in OF_THE_OLDEST), None)
    if python is None:
        return f"from {OLDEST}: not tried, for it needs Python 3.10 or 3.11"
    with tempfile.TemporaryDirectory() as scratch:
        environment = Environment(Path(scratch) / "venv", python)
        done = environment.pip("install", "--quiet", "--retries", "1", f"{project.name}=={OLDEST}")
        if done.returncode:
            return f"from {OLDEST}: not tried, for pip cannot get it here"
        _python(environment, WRITE_OLDEST, f"{OLDEST} writing its config and reference")
        _upgrade(environment, f"{wheel}[s3]")
        # With obstore the S3 sink exists; that it cannot reach a bucket keeps the monitor from nothing.
        _python(environment, READ_OLDEST, f"reading the config and reference of {OLDEST}")
        _command(project, environment, "reference", "show", "data/reference.json")
        _command(project, environment, "check", "--offline", "--config", "config.yaml")
    return f"from {OLDEST}: its config and reference JSON keep working"


def from_previous(project: Project, index: Index, wheel: Path, previous: str) -> str:
    """Config, reference and database of the release before this one, as the index gives it."""
    with tempfile.TemporaryDirectory() as scratch:
        environment = Environment(Path(scratch) / "venv", pythons.found()[pythons.default()])
        exactly, options = f"{project.name}=={previous}", ["--quiet", "--no-cache-dir"]
        done = environment.pip(
            "install", *options, "--no-deps", "--index-url", index.simple_url, exactly, only_index=True
        )
        require(done, f"installing {exactly} from {index.repository}", "look at the network")
        require(
            environment.pip("install", "--quiet", exactly),
            f"installing what {exactly} needs",
            "look at the network",
        )
        _command(project, environment, "init", "config.yaml")
        (environment.work / "training.csv").write_text("x\n" + "".join(f"{i % 7}\n" for i in range(500)))
        _command(project, environment, "reference", "build", "training.csv", "-o", "reference.json")
        _python(environment, WRITE, f"{previous} logging predictions")
        _upgrade(environment, str(wheel))
        _python(environment, READ, f"reading the database of {previous}")
        shown = _command(project, environment, "reference", "show", "reference.json", "--json")
        if not json.loads(shown):
            raise Problem(f"the reference written by {previous} reads as empty; {REMEDY}.")
        _command(project, environment, "check", "--offline", "--config", "config.yaml")
    return f"from {previous}: its config, database and reference keep working"


def _upgrade(environment: Environment, wheel: str) -> None:
    done = environment.pip("install", "--quiet", "--upgrade", wheel)
    require(done, "pip install --upgrade", "correct the dependencies, or look at the network")


def _python(environment: Environment, program: str, what: str) -> None:
    require(environment.run("python", "-c", program), what, REMEDY)


def _command(project: Project, environment: Environment, *words: str) -> str:
    return require(environment.run(project.name, *words), f"{project.name} {words[0]}", REMEDY)
