"""A scikit-learn model, served by ONNX Runtime, watched on the device, uploaded to S3.

The model reads handwritten digits from a camera of 8 x 8 pixels. Halfway through, one column of the camera
fades to half its brightness. The pictures are real (scikit-learn's `load_digits`, 1797 of them: half train the
model, the other half are shown once each, in random order); that the column fades is simulated.

    pip install "edge-mlops-monitor[s3]" scikit-learn skl2onnx onnxruntime
    export AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=...
    python onnx_to_s3.py --bucket my-bucket [--endpoint-url http://localhost:9000]
"""

from __future__ import annotations

import argparse
import os
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
from edge_mlops_monitor.drift import reference
from edge_mlops_monitor.features import columns
from edge_mlops_monitor.records import Prediction

MODEL = {"model": "digits", "model_version": "1"}
FADED_COLUMN = 4
PICTURES_A_SECOND = 200


def train(images: Any, labels: Any, folder: Path) -> None:
    """Write the model as digits.onnx, and what it saw in training as reference.json."""
    rows = images.reshape(-1, 64)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    # A model is surer of pictures it was trained on than of new ones. So the reference of its outputs comes
    # from cross-validation: each picture is read by a model that has not seen it.
    probabilities = cross_val_predict(model, rows, labels, cv=10, method="predict_proba")
    seen = [Prediction(inputs={"image": x}, outputs=answer(p)) for x, p in zip(images, probabilities, strict=True)]
    (folder / "reference.json").write_text(reference.dump(reference.build(columns(seen), **MODEL)))
    onnx = to_onnx(model.fit(rows, labels), rows[:1], options={"zipmap": False})
    (folder / "digits.onnx").write_bytes(onnx.SerializeToString())


def answer(probabilities: Any) -> dict[str, Any]:
    """The digit, as a category, and how sure the model is of it."""
    return {"digit": str(probabilities.argmax()), "confidence": float(probabilities.max())}


def config(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the monitor is told; the rest stays at its default (at most one false alarm a month)."""
    return {
        "system": {"sampling_interval_seconds": 1},
        "drift_detection": {"reference_data_path": str(arguments.folder / "reference.json")},
        "storage": {
            "type": "s3",
            "bucket": arguments.bucket,
            "prefix": arguments.prefix,
            "endpoint_url": arguments.endpoint_url,
            "sqlite_path": str(arguments.folder / "monitor.db"),
        },
    }


def serve(monitor: EdgeMonitor, model: Path, images: Any, labels: Any) -> tuple[float, list[bool]]:
    """Read every picture, the second half with a faded column: when it began to fade, which were read right."""
    session = onnxruntime.InferenceSession(model)
    name = session.get_inputs()[0].name

    @monitor.watch(**MODEL)  # these are the two lines that a program needs: the monitor, and this one
    def read_digit(image: Any) -> dict[str, Any]:
        _, probabilities = session.run(None, {name: image.reshape(1, 64)})
        return answer(probabilities[0])

    right, faded_at = [], 0.0
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        if index >= len(images) // 2:
            faded_at = faded_at or time.time()
            image = np.where(np.arange(8) == FADED_COLUMN, image / 2, image).astype(image.dtype)
        right.append(read_digit(image)["digit"] == str(label))
        time.sleep(1 / PICTURES_A_SECOND)
    return faded_at, right


def report(monitor: EdgeMonitor, faded_at: float, right: list[bool], upload: dict[str, Any]) -> None:
    """What was done, what the device noticed, what has arrived."""
    half = len(right) // 2
    print(f"{len(right)} pictures; {np.mean(right[:half]):.1%} read right before column {FADED_COLUMN}", end=" ")
    print(f"faded, {np.mean(right[half:]):.1%} after (the monitor is not told which were right)")
    alarms = [event for event in reversed(list(monitor.events())) if event.severity == "alarm"]
    for event in alarms:
        later = sum(faded_at <= p.ts <= event.ts for p in monitor.predictions(since=faded_at))
        print(f"  {later:4} pictures later: {event.message}")
    early = sum(event.ts < faded_at for event in alarms)
    column = sum(event.data["feature"].endswith(f"[{FADED_COLUMN}]") for event in alarms)
    print(f"alarms: {len(alarms)}, {column} of them on the faded column; before it faded: {early}")
    print(f"uploaded: {upload['records']} records in {upload['delivered']} objects, {upload['pending']} wait")
    print(f"not recorded: {monitor.get_status()['dropped'] or 'nothing'}; {upload['errors'] or 'no errors'}")


def main() -> None:
    """Train, serve, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bucket", default=os.environ.get("BUCKET"), help="default: $BUCKET")
    parser.add_argument("--endpoint-url", default=os.environ.get("AWS_ENDPOINT_URL", ""), help="if not Amazon's")
    parser.add_argument("--prefix", default="", help="what the keys begin with, such as site-a/")
    parser.add_argument("--folder", default="digits", type=Path, help="where model and database go")
    arguments = parser.parse_args()
    if not arguments.bucket:
        parser.error("no bucket: give --bucket or set BUCKET")
    arguments.folder.mkdir(parents=True, exist_ok=True)

    digits = load_digits()
    images, labels = digits.images.astype(np.float32), digits.target
    known, new, known_labels, new_labels = train_test_split(images, labels, train_size=0.5, random_state=0)
    train(known, known_labels, arguments.folder)
    with EdgeMonitor(config=config(arguments)) as monitor:
        faded_at, right = serve(monitor, arguments.folder / "digits.onnx", new, new_labels)
    report(monitor, faded_at, right, monitor.upload_now(timeout=60))


if __name__ == "__main__":
    main()
