"""What the demo begins with: folder, pump, model, reference and config."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.config import Config
from edge_mlops_monitor.demo.model import FlowModel
from edge_mlops_monitor.demo.pump import FLOW, SENSORS, Recording
from edge_mlops_monitor.demo.script import SHIFT, SHIFTED_SENSOR, STUCK_SENSOR, Script
from edge_mlops_monitor.drift import reference, reference_file
from edge_mlops_monitor.errors import DataError

SEED = 7
TRAINING_ROWS, TEST_ROWS = 6000, 2000
CONFIG, DATABASE, UPLOADS = "config.yaml", "monitor.db", "uploads"
REFERENCE, TRAINING, RECORDED = "reference.json", "training.csv", "recorded.csv"

HEAD = """\
# Written by `edge-mlops-monitor demo`. What it decides by is the default: one false alarm a month.
# Intervals are short, so that a demo of less than a minute shows what otherwise takes minutes.
"""


def settings(pace: float) -> dict[str, Any]:
    """The config of the demo; `pace` is the seconds between two uploads."""
    return {
        "device_id": "demo-pump",
        "system": {"sampling_interval_seconds": 1},
        "model_logging": {"flush_interval_seconds": pace / 2},
        "drift_detection": {"reference_data_path": REFERENCE},
        "telemetry": {
            "upload_interval_seconds": pace,
            "retry_base_delay_seconds": pace / 4,
            "retry_max_delay_seconds": pace,
        },
        "storage": {"type": "file", "path": UPLOADS, "sqlite_path": DATABASE},
    }


class Scene:
    """`live` is what the sensors will read, `healthy` the mean and sd of each feature in training."""

    def __init__(self, folder: Path, script: Script) -> None:
        self.folder = folder
        self.script = script
        training, test = Recording(TRAINING_ROWS, SEED), Recording(TEST_ROWS, SEED + 1)
        self.model = FlowModel(training.matrix(), training.flow, SEED)
        self.explained = self.model.explained(test.matrix(), test.flow)
        answers = np.round(self.model.predict(training.matrix()), 2)
        columns = {f"inputs.{name}": training.sensors[name] for name in SENSORS}
        references = reference.build({**columns, f"outputs.{FLOW}": answers})
        self.healthy = {feature.name: (feature.mean or 0.0, feature.sd or 1.0) for feature in references}
        self.live = self._live()
        (folder / REFERENCE).write_text(reference_file.dump(references), encoding="utf-8")
        write_rows(folder / TRAINING, {**training.sensors, FLOW: answers})
        given = settings(script.pace)
        lines = [f"{name}: {msgspec.json.encode(value).decode()}\n" for name, value in given.items()]
        (folder / CONFIG).write_text(HEAD + "".join(lines), encoding="utf-8")
        self.config = Config.from_dict(given, path=(folder / CONFIG).absolute())

    def _live(self) -> Recording:
        live = Recording(self.script.rows, SEED + 2)
        self.shift = SHIFT * self.healthy[f"inputs.{SHIFTED_SENSOR}"][1]
        live.stick(STUCK_SENSOR, self.script.sticks, self.script.moves)
        live.shift(SHIFTED_SENSOR, self.script.shifts, self.shift)
        return live


def folder_for(out: Path | None) -> Path:
    """The folder to work in, made if need be; DataError where another demo was there."""
    if out is None:
        return Path(tempfile.mkdtemp(prefix="edge-mlops-monitor-demo-"))
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise DataError(f"{out} is not empty; name a new folder with --output")
    return out


def write_rows(path: Path, columns: dict[str, NDArray[np.float64]]) -> None:
    """Columns as CSV."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        rows.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
