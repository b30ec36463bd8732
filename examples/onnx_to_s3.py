"""A scikit-learn model, served by ONNX Runtime, watched on the device, uploaded to S3.

The model reads handwritten digits from a camera of 8 x 8 pixels. Halfway through, one column of the
camera fades to half its brightness. The pictures are real (the 1797 of scikit-learn's `load_digits`:
half train the model, the others are shown once each, in random order); the fading is simulated.

    pip install "edge-mlops-monitor[s3]" scikit-learn skl2onnx onnxruntime
    export AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=...
    python onnx_to_s3.py --bucket my-bucket [--endpoint-url http://localhost:9000]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from edge_mlops_monitor import EdgeMonitor
from edge_mlops_monitor.drift import reference, reference_file
from edge_mlops_monitor.features import columns
from edge_mlops_monitor.records import Prediction

FADED_COLUMN = 4
PICTURES_A_SECOND = 200


def train(images: Any, labels: Any, folder: Path) -> None:
    """Write the model as digits.onnx, and what it saw in training as reference.json."""
    rows = images.reshape(-1, 64)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    # A model is surer of pictures that it was trained on than of new ones. So the reference of its
    # outputs comes from cross-validation: each picture is read by a model that has not seen it.
    said = map(answer, cross_val_predict(model, rows, labels, cv=10, method="predict_proba"))
    seen = [Prediction(inputs={"image": x}, outputs=y) for x, y in zip(images, said, strict=True)]
    (folder / "reference.json").write_text(
        reference_file.dump(reference.build(columns(seen), model="digits"))
    )
    onnx = to_onnx(model.fit(rows, labels), rows[:1], options={"zipmap": False})
    (folder / "digits.onnx").write_bytes(onnx.SerializeToString())


def answer(probabilities: Any) -> dict[str, Any]:
    """The digit, as a category, and how sure the model is of it."""
    return {"digit": str(probabilities.argmax()), "confidence": float(probabilities.max())}


def config(folder: Path, bucket: str, endpoint_url: str) -> dict[str, Any]:
    """What the monitor is told; the rest stays at its default (one false alarm a month, at most)."""
    return {
        "system": {"sampling_interval_seconds": 1},
        "drift_detection": {"reference_data_path": str(folder / "reference.json")},
        "storage": {
            "bucket": bucket,
            "endpoint_url": endpoint_url,
            "sqlite_path": str(folder / "monitor.db"),
        },
    }


def serve(monitor: EdgeMonitor, model: Path, images: Any, labels: Any) -> tuple[float, list[bool]]:
    """Read every picture; when the column began to fade, and which pictures were read right."""
    session = onnxruntime.InferenceSession(model)
    name = session.get_inputs()[0].name

    @monitor.watch(model="digits", model_version="1")  # all that the program itself needs
    def read_digit(image: Any) -> dict[str, Any]:
        _, probabilities = session.run(None, {name: image.reshape(1, 64)})
        return answer(probabilities[0])

    right, faded_at = [], 0.0
    for index, image in enumerate(images):
        if index >= len(images) // 2:
            faded_at = faded_at or time.time()
            image[:, FADED_COLUMN] /= 2
        right.append(read_digit(image)["digit"] == str(labels[index]))
        time.sleep(1 / PICTURES_A_SECOND)
    return faded_at, right


def report(monitor: EdgeMonitor, faded_at: float, right: list[bool]) -> None:
    """What was done, what the device noticed, what has arrived."""
    before, after = np.array_split(right, [len(right) // 2])
    print(f"{len(right)} pictures: {before.mean():.1%} read right, {after.mean():.1%} once the column faded")
    print("(the monitor is not told which)")
    alarms = [event for event in monitor.events() if event.severity == "alarm"][::-1]
    for alarm in alarms:
        later = sum(p.ts <= alarm.ts for p in monitor.predictions(since=faded_at))
        print(f"  {later:4} pictures later: {alarm.message}")
    on_column = sum(alarm.data["feature"].endswith(f"[{FADED_COLUMN}]") for alarm in alarms)
    early = sum(alarm.ts < faded_at for alarm in alarms)
    print(f"alarms: {len(alarms)}, {on_column} of them on the faded column; before it faded: {early}")
    status = monitor.get_status()
    s3 = status["sinks"]["s3"]
    print(f"uploaded: {s3['records']} records in {s3['objects']} objects", end=", ")
    print(f"{s3['pending']} objects wait; error: {s3['last_error'] or 'none'}")
    print(f"not recorded: {status['dropped'] or 'nothing'}")


def main() -> None:
    """Train, serve, upload, report."""
    parser = argparse.ArgumentParser(description="Watch a model on ONNX Runtime, upload to S3.")
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--endpoint-url", default="", help="of an S3-compatible store other than Amazon's")
    parser.add_argument("--folder", default="digits", type=Path, help="where model and database go")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)

    digits = load_digits()
    images, labels = digits.images.astype(np.float32), digits.target
    known, new, known_labels, new_labels = train_test_split(images, labels, train_size=0.5, random_state=0)
    train(known, known_labels, given.folder)
    with EdgeMonitor(config=config(given.folder, given.bucket, given.endpoint_url)) as monitor:
        faded_at, right = serve(monitor, given.folder / "digits.onnx", new, new_labels)
    monitor.upload_now(timeout=60)
    report(monitor, faded_at, right)


if __name__ == "__main__":
    main()
