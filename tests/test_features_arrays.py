"""Large arrays as features: embeddings and images, and whatever else comes as an array."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_mlops_monitor import EdgeMonitor
from edge_mlops_monitor.arrays import embedding, signs, summarise
from edge_mlops_monitor.capture.snapshot import Snapshot
from edge_mlops_monitor.dataset import Dataset, Selection
from edge_mlops_monitor.drift.reference import build
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.watcher import Watcher
from edge_mlops_monitor.features import columns_of, features

MOMENTS = {"mean", "sd", "min", "max", "zeros", "nonfinite"}
EMBEDDING = {"norm", "projection"}
IMAGE = {"sharpness", "histogram", "fingerprint"}
Array = np.ndarray[Any, Any]


def frame(seed: int = 0, shape: tuple[int, ...] = (90, 120, 3)) -> Array:
    """Something with edges, slopes and noise, as bytes."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(40, 200, (shape[0] // 10, shape[1] // 10, *shape[2:]))
    scene = np.kron(coarse, np.ones((10, 10) + (1,) * (len(shape) - 2)))
    return np.asarray((scene + rng.normal(0, 3, scene.shape)).clip(0, 255).astype(np.uint8))


def blurred(image: Array) -> Array:
    """Each pixel the mean of 5 by 5."""
    rows = sum(np.roll(image.astype(float), shift, 0) for shift in range(-2, 3))
    return np.asarray(sum(np.roll(rows, shift, 1) for shift in range(-2, 3)) / 25).astype(image.dtype)


@pytest.fixture
def monitor(tmp_path: Path) -> Any:
    with EdgeMonitor(config={"storage": {"sqlite_path": str(tmp_path / "m.db")}}) as made:
        yield made


def stored(monitor: EdgeMonitor) -> Any:
    assert monitor.flush()
    return next(iter(monitor.predictions(limit=1)))


# - what is an embedding, an image, or neither -


@pytest.mark.parametrize(
    ("array", "more"),
    [
        (np.ones(512, np.float32), EMBEDDING),
        (np.ones((1, 512), np.float16), EMBEDDING),
        (np.ones(512, np.int64), set()),
        (np.ones(512, np.uint8), set()),
        (np.ones((480, 640), np.uint8), IMAGE),
        (np.ones((480, 640, 3), np.uint8), IMAGE),
        (np.ones((4, 480, 640), np.uint16), IMAGE),
        (np.ones((1, 3, 224, 224), np.float32), IMAGE),
        (np.ones((28, 28, 1), np.float64), IMAGE),
        (np.ones((480, 640, 2), np.uint8), set()),
        (np.ones((480, 640), np.int64), set()),
        (np.ones((480, 640), bool), set()),
        (np.ones((100, 15)), set()),
        (np.ones((8, 3, 32, 32)), set()),
    ],
    ids=lambda value: f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else "",
)
def test_what_an_array_is_follows_from_its_shape_and_dtype(array: Array, more: set[str]) -> None:
    assert summarise(array).keys() == {"shape", "dtype", *MOMENTS, *more}


def test_a_summary_becomes_named_features() -> None:
    found = features({"emb": np.ones(100), "frame": frame()}, None)
    names = {f"inputs.emb.{name}" for name in (*MOMENTS, "norm")}
    names |= {f"inputs.emb.projection[{i}]" for i in range(8)}
    names |= {f"inputs.frame.{name}" for name in (*MOMENTS, "sharpness", "fingerprint")}
    names |= {f"inputs.frame.histogram[{i}]" for i in range(8)}
    assert set(found) == names
    assert all(isinstance(value, float) for value in found.values())


def test_records_from_before_there_were_these_fields_read_as_they_did() -> None:
    old = {"shape": [9, 9], "dtype": "float64", "mean": 0.5, "sd": 0.1, "min": 0.0, "max": 1.0}
    old |= {"zeros": 0.0, "nonfinite": 0.0}
    assert features({"x": old}, None) == {f"inputs.x.{name}": old[name] for name in sorted(MOMENTS)}


# - embeddings -


def test_a_projection_keeps_distances_as_the_lemma_says() -> None:
    rng = np.random.default_rng(1)
    for size in (65, 512, 2048):
        pairs = rng.normal(size=(300, 2, size)) * rng.exponential(size=size)
        ratios = []
        for one, other in pairs:
            before = np.linalg.norm(one - other)
            after = np.subtract(embedding(one)["projection"], embedding(other)["projection"])
            ratios.append(float(np.linalg.norm(after) / before))
        squares = np.square(ratios)
        assert squares.mean() == pytest.approx(1.0, abs=0.12)  # 4 standard errors of 0.5 / sqrt(300)
        assert np.mean(np.array(ratios) < 0.45) < 0.04


def test_the_signs_are_the_same_everywhere_and_for_every_length() -> None:
    assert (signs(512) == signs(8192)[:, :512]).all()
    assert ["".join("-+"[int(sign > 0)] for sign in row[:16]) for row in signs(65)[:3]] == [
        "+-+-+-+-+-+-++++",
        "+-+-++--++-+++-+",
        "++++---+-+-+-+--",
    ]
    correlations = signs(8192) @ signs(8192).T / 8192
    assert np.abs(correlations - np.eye(8)).max() < 0.06
    assert abs(signs(8192).mean()) < 0.02


def test_an_embedding_has_the_same_features_as_array_and_as_list() -> None:
    vector = np.random.default_rng(2).normal(size=768)
    of_array, of_list = (features({"e": value}, None) for value in (vector, vector.tolist()))
    assert of_array == {name: pytest.approx(value, rel=1e-9) for name, value in of_list.items()}
    half = features({"e": vector.astype(np.float32)}, None)
    assert half == {name: pytest.approx(value, rel=1e-4, abs=1e-5) for name, value in of_array.items()}


def test_what_is_not_finite_counts_as_0_in_a_projection() -> None:
    vector = np.random.default_rng(4).normal(size=100)
    vector[7] = 0.0
    holed = vector.copy()
    holed[7] = np.nan
    assert embedding(holed) == embedding(vector)


def test_rounding_does_not_show_in_the_norm_of_what_was_scaled_to_length_one() -> None:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(50, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert {embedding(vector)["norm"] for vector in vectors} == {1.0}


def population(rng: np.random.Generator) -> Array:
    """Embeddings of 512 dimensions in which a few directions hold most of the variance, as in real ones."""
    few = rng.normal(size=(40, 512)) / np.sqrt(1 + np.arange(40))[:, None]
    rows = rng.normal(size=(1800, 40)) @ few + rng.normal(size=(1800, 512)) * 0.3
    return np.asarray(rng.normal(size=512) + rows)


def changed(after: Array, change: str, rng: np.random.Generator) -> Array:
    if change == "shift":  # by half of the population's root mean square distance from its centre
        direction = rng.normal(size=512)
        return after + direction / np.linalg.norm(direction) * 0.5 * math.sqrt(after.var(axis=0).sum())
    return after[:, rng.permutation(512)] * rng.choice((-1.0, 1.0), 512)  # a turn onto other axes


def columns_of_embeddings(rows: Array) -> dict[str, list[Any]]:
    return columns_of([{"emb": row} for row in rows], [])


@pytest.mark.parametrize("seed", range(3))
def test_embeddings_that_shift_in_any_direction_or_turn_are_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = population(rng)
    watcher = Watcher(Settings(average_run_length=50_000), build(columns_of_embeddings(rows[:1000])))
    healthy = watcher.update(("", "", ""), columns_of_embeddings(rows[1000:1500]), [0.0] * 500)
    state = watcher.state()
    for change in ("shift", "rotation"):
        assert watcher.restore(state)
        live = columns_of_embeddings(changed(rows[1500:], change, rng))
        found = watcher.update(("", "", ""), live, [1.0] * 300)
        alarms = [one.data for one in found if one.kind == "events" and one.severity == "alarm"]
        assert {data["feature"] for data in alarms} == {"inputs.emb"}
        assert alarms[0]["row"] < 500 + 150
    assert [one for one in healthy if one.kind == "events"] == []


# - images -


def test_a_histogram_holds_shares_of_the_range_of_the_dtype() -> None:
    ramp = np.arange(256, dtype=np.uint8).repeat(4).reshape(32, 32)
    assert summarise(ramp)["histogram"] == [1 / 8] * 8
    assert summarise(np.zeros((40, 40, 3), np.uint8))["histogram"] == [1.0] + [0.0] * 7
    deep = np.array([0, 300, 600, 1500, 3000, 5000, 9000, 65535], np.uint16).repeat(128).reshape(32, 32)
    assert summarise(deep)["histogram"] == [1 / 8] * 8
    real = np.array([-2.0, -0.5, 0.1, 0.2, 0.4, 0.9, 20.0, 200.0]).repeat(128).reshape(32, 32)
    assert summarise(real)["histogram"] == [1 / 8] * 8


def test_sharpness_falls_with_blur_and_not_with_the_light() -> None:
    image = frame().astype(float)
    sharp = summarise(image)["sharpness"]
    assert summarise(image * 0.3)["sharpness"] == pytest.approx(sharp)
    assert summarise(blurred(image))["sharpness"] < 0.3 * sharp
    noise = np.random.default_rng(0).normal(size=(96, 96))
    assert summarise(noise)["sharpness"] == pytest.approx(20, rel=0.1)
    assert summarise(np.full((480, 640, 3), 7, np.uint8))["sharpness"] == 0.0


def test_blur_shows_in_large_frames_too_though_few_pixels_are_looked_at() -> None:
    large = frame(shape=(1080, 1920))
    assert summarise(blurred(large))["sharpness"] < 0.5 * summarise(large)["sharpness"]


def test_only_identical_frames_have_the_same_fingerprint() -> None:
    one, other = frame(), frame()
    assert summarise(one)["fingerprint"] == summarise(other)["fingerprint"]
    noise = np.random.default_rng(5).integers(0, 2, one.shape).astype(np.uint8)
    assert summarise(one)["fingerprint"] != summarise(other ^ noise)["fingerprint"]
    assert summarise(one)["fingerprint"] <= 2**32


def test_a_view_in_any_order_is_the_image_that_it_shows() -> None:
    large = frame(shape=(180, 240, 3))
    for view in (large[::2, ::-1], large.transpose(1, 0, 2), large[:, :, ::-1], np.asfortranarray(large)):
        assert summarise(view) == summarise(view.copy())
    first = np.ascontiguousarray(large.transpose(2, 0, 1))
    same = {**summarise(large), "shape": list(first.shape)}
    assert summarise(first) == same


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_large_frame_is_not_copied(dtype: Any) -> None:
    large = np.zeros((1080, 1920, 3), dtype)
    summarise(large)
    for view in (large, large[:, ::-1], large.transpose(2, 0, 1)):
        tracemalloc.start()
        summarise(view)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1_500_000 < large.nbytes


# - whatever comes -

ODD = {
    "NaN frame": np.full((40, 40), np.nan),
    "infinite frame": np.full((40, 40, 3), np.inf, np.float32),
    "partly NaN frame": np.where(np.arange(1600).reshape(40, 40) % 7, 0.5, np.nan),
    "huge frame": np.full((40, 40), 1e308),
    "huge vector": np.full(100, -1e308),
    "NaN vector": np.full(100, np.nan),
    "half precision": np.full((40, 40), 60000, np.float16),
    "half precision vector": np.full(100, 60000, np.float16),
    "long floats": np.ones((40, 40), np.longdouble),
    "big-endian": np.ones((40, 40), ">f4"),
    "big-endian integers": np.ones((40, 40), ">u2"),
    "bool": np.ones((40, 40), bool),
    "huge integers": np.full((40, 40), 2**63 - 1),
    "huge unsigned integers": np.full(100, 2**64 - 1, np.uint64),
    "complex": np.ones((40, 40), complex),
    "objects": np.full((40, 40), None, dtype=object),
    "records": np.zeros((40, 40), dtype=[("a", "f4"), ("b", "i4")]),
    "empty": np.zeros((0, 640, 3), np.uint8),
    "no axis": np.array(2.5),
    "texts": np.full((40, 40), "a"),
    "times": np.full(100, np.datetime64("2026-01-01")),
    "masked": np.ma.masked_array(np.ones((40, 40)), mask=np.eye(40, dtype=bool)),
    "many axes": np.zeros((2,) * 12),
    "read-only": np.broadcast_to(np.uint8(3), (480, 640, 3)),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_arrays_are_summarised_or_named_without_a_warning(name: str) -> None:
    """NumPy's warnings are errors here."""
    encoded = Snapshot().encode({"a": ODD[name]})
    found = features(msgspec.msgpack.decode(encoded), None)
    assert all(value is None or math.isfinite(value) for value in found.values())
    json.dumps(found, allow_nan=False)


def test_what_is_not_finite_is_missing_under_its_usual_name() -> None:
    for name in ("NaN frame", "NaN vector"):
        found = features(ODD[name], None)
        usual = features(np.ones_like(ODD[name]), None)
        assert found.keys() == usual.keys()
        assert found.pop("inputs.value.nonfinite") == 1.0
        known = {"inputs.value.zeros", "inputs.value.fingerprint"}
        assert {key for key, value in found.items() if value is not None} <= known


def test_a_tensor_is_the_array_in_it() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.ones((1, 3, 32, 32), requires_grad=True)
    found = msgspec.msgpack.decode(Snapshot().encode(tensor))
    assert {**found, "dtype": ""} == {**summarise(np.ones((1, 3, 32, 32), np.float32)), "dtype": ""}


# - on its way -


def test_watch_takes_images_and_embeddings(monitor: EdgeMonitor) -> None:
    @monitor.watch(model="detector")
    def detect(image: Array, threshold: float = 0.5) -> Array:
        return image.reshape(-1)[:256].astype(np.float32) * threshold

    image = frame()
    expected = summarise(image)
    answer = detect(image)
    image[:] = 0
    one = stored(monitor)
    assert one.inputs["image"] == expected
    assert one.outputs == summarise(answer)


def test_each_row_of_a_batch_is_an_embedding_or_an_image(monitor: EdgeMonitor) -> None:
    vectors = np.random.default_rng(7).normal(size=(3, 512)).astype(np.float32)
    frames = np.stack([frame(seed) for seed in range(3)])
    monitor.log_predictions({"emb": vectors, "frame": frames}, np.arange(3.0))
    assert monitor.flush()
    for row, one in enumerate(reversed(list(monitor.predictions()))):
        assert one.inputs == {"emb": summarise(vectors[row]), "frame": summarise(frames[row])}


def test_a_table_of_tensors_is_taken_by_rows(monitor: EdgeMonitor) -> None:
    class Tensor:
        """As torch has it, `size` is a method."""

        def __init__(self, array: Array) -> None:
            self.array, self.shape, self.dtype = array, array.shape, "torch.float32"

        def size(self) -> tuple[int, ...]:
            return self.shape

        def __len__(self) -> int:
            return len(self.array)

        def __getitem__(self, row: int) -> Any:
            return Tensor(self.array[row])

        def tolist(self) -> Any:
            return self.array.tolist()

        def detach(self) -> Any:
            return self

        cpu = detach

        def numpy(self) -> Array:
            return self.array

    vectors = np.random.default_rng(9).normal(size=(2, 128))
    wide, narrow = Tensor(vectors), Tensor(vectors[:, :3])
    assert len(monitor.log_predictions(wide, narrow)) == 2
    assert monitor.flush()
    assert monitor.get_status()["dropped"] == {}
    rows = list(reversed(list(monitor.predictions())))
    assert [row.inputs for row in rows] == [summarise(vector) for vector in vectors]
    assert [row.outputs for row in rows] == vectors[:, :3].tolist()


def test_raw_capture_keeps_the_array_beside_its_summary() -> None:
    image = frame()
    found = msgspec.msgpack.decode(Snapshot(raw_bytes=1 << 20).encode(image))
    assert (np.frombuffer(found.pop("data"), np.uint8).reshape(found["shape"]) == image).all()
    assert found == summarise(image)


def test_redaction_reaches_into_a_summary(tmp_path: Path) -> None:
    config = {
        "storage": {"sqlite_path": str(tmp_path / "m.db")},
        "model_logging": {"redact": {"inputs.emb.projection": "drop", "inputs.face": "drop"}},
    }
    with EdgeMonitor(config=config) as monitor:
        monitor.log_prediction({"emb": np.ones(512), "face": frame()}, 1.0)
        one = stored(monitor)
    assert one.inputs.keys() == {"emb"}
    assert one.inputs["emb"].keys() == {"shape", "dtype", *MOMENTS, "norm"}
    assert set(features(one.inputs, None)) == {f"inputs.emb.{name}" for name in (*MOMENTS, "norm")}


def test_exported_lines_replay_to_the_features_of_the_call(monitor: EdgeMonitor, tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    rows = [({"frame": frame(seed), "emb": rng.normal(size=100)}, frame(seed)[:, :, 0]) for seed in range(3)]
    fresh = [features(*row) for row in rows]
    for inputs, outputs in rows:
        monitor.log_prediction(inputs, outputs)
    assert monitor.flush()
    lines = tmp_path / "recorded.jsonl"
    records = reversed(list(monitor.predictions()))
    lines.write_bytes(b"\n".join(msgspec.json.encode(record.to_dict()) for record in records))
    chunks = list(Dataset(lines, Selection()))
    assert [chunk.rows for chunk in chunks] == [3]
    for name in fresh[0]:
        assert list(chunks[0].columns[name]) == [row[name] for row in fresh]


def test_numpy_comes_only_with_the_first_array(tmp_path: Path) -> None:
    program = """
import sys
from edge_mlops_monitor import EdgeMonitor
monitor = EdgeMonitor(config={"storage": {"sqlite_path": sys.argv[1]}})
monitor.log_prediction({"a": 1.5, "b": [0.5] * 64, "c": {"d": "x"}}, 0.5)
monitor.log_predictions({"a": [1.5, 2.5]}, [0.5, 0.25])
assert monitor.flush()
assert "numpy" not in sys.modules and "edge_mlops_monitor.arrays" not in sys.modules
"""
    command = [sys.executable, "-c", program, str(tmp_path / "m.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
