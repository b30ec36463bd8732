"""Redaction: the secret is in no file, whatever way it came; exception texts are not stored by default."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_mlops_monitor import EdgeMonitor
from edge_mlops_monitor.capture.redaction import Redaction

SECRET = "Geheimnis-4711"


def made(tmp_path: Path, rules: dict[str, str], **more: Any) -> EdgeMonitor:
    config = {
        "storage": {"sqlite_path": str(tmp_path / "m.db")},
        "model_logging": {"redact": rules, **more},
    }
    return EdgeMonitor(config=config)


def everything_on_disk(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("action", ["drop", "hash", "truncate:4"])
def test_the_secret_is_in_no_file(tmp_path: Path, action: str) -> None:
    rules = {"inputs.user*": action, "outputs.*.name": action, "tags.driver": action, "actual": action}
    monitor = made(tmp_path, rules)
    monitor.start()
    nested = {"people": {"name": SECRET, "age": 36}}
    monitor.log_prediction({"user": SECRET, "x": 1.0}, nested, tags={"driver": SECRET, "site": "b"})
    monitor.log_prediction({"user": {"deep": [SECRET]}, "users": [SECRET, {"a": SECRET}]}, nested)
    monitor.log_predictions({"user": [SECRET] * 3, "x": [1.0, 2.0, 3.0]}, [nested] * 3)
    monitor.log_prediction({"user": SECRET + "\ud800"}, {"people": [{"name": SECRET}]})
    id = monitor.log_model_input({"user": SECRET})
    monitor.flush()
    monitor.log_model_output(id, nested)
    late = monitor.log_model_input({"user": SECRET})
    monitor.log_model_output(late, nested)
    monitor.log_prediction({"user": SECRET}, nested, prediction_id="p")
    monitor.log_prediction({"user": SECRET}, nested, prediction_id="p")
    monitor.log_actual("p", SECRET)

    @monitor.watch()
    def predict(user: str, x: float) -> dict[str, Any]:
        raise ValueError(f"no model for {user}")

    with pytest.raises(ValueError, match=SECRET):
        predict(SECRET, 1.0)
    assert monitor.flush()
    monitor.stop()
    assert SECRET.encode() not in everything_on_disk(tmp_path)
    for one in monitor.predictions():
        assert SECRET not in repr(one)
    kept = next(one for one in monitor.predictions() if one.tags)
    assert (kept.inputs["x"], kept.outputs["people"]["age"], kept.tags and kept.tags["site"]) == (
        1.0,
        36,
        "b",
    )


def test_drop_removes_hash_keeps_equal_values_equal_truncate_cuts(tmp_path: Path) -> None:
    monitor = made(
        tmp_path, {"*.photo": "drop", "inputs.user": "hash", "inputs.text": "truncate:3"}, redact_key="key"
    )
    monitor.log_prediction({"photo": b"x", "user": "Ada", "text": "abcdef", "n": 5}, {"photo": 1})
    monitor.log_prediction({"user": "Ada", "text": ["a", "b", "c", "d"]}, 1)
    assert monitor.flush()
    later, one = monitor.predictions()
    digest = hmac.new(b"key", b"Ada", "sha256").hexdigest()[:16]
    assert one.inputs == {"user": digest, "text": "abc", "n": 5}
    assert one.outputs == {}
    assert later.inputs == {"user": digest, "text": ["a", "b", "c"]}
    monitor.stop()


def test_without_a_key_a_random_one_is_kept_on_the_device(tmp_path: Path) -> None:
    hashes = []
    for folder in ("a", "a", "b"):
        (tmp_path / folder).mkdir(exist_ok=True)
        monitor = made(tmp_path / folder, {"inputs.user": "hash"})
        monitor.log_prediction({"user": "Ada"}, 1)
        monitor.stop()
        hashes.append(next(monitor.predictions()).inputs["user"])
        monitor.stop()
    assert hashes[0] == hashes[1]
    assert hashes[0] != hashes[2]


def test_the_first_rule_that_matches_decides_for_all_below_it() -> None:
    rules = Redaction({"inputs.a.keep": "truncate:100", "inputs.a*": "drop", "*": "hash"}, key=lambda: b"k")
    assert rules.apply("inputs", {"a": {"keep": 1}}) != {"a": {"keep": 1}}
    only = Redaction({"inputs.a": "drop"})
    assert only.apply("inputs", {"a": 1, "ab": 2, "b": {"a": 3}}) == {"ab": 2, "b": {"a": 3}}


def test_values_of_all_kinds_can_be_hashed(tmp_path: Path) -> None:
    monitor = made(tmp_path, {"*": "hash"})
    odd = [float("nan"), b"\xff", {None: 1}, {(1, 2): 3}, 2**70, "\ud800", [1, {"a": None}], np.zeros(100)]
    for value in odd:
        monitor.log_prediction({"x": value}, value, tags={"t": value})
        monitor.log_actual("p", value)
    assert monitor.flush()
    assert sum(1 for _ in monitor.predictions()) == len(odd)
    assert all(isinstance(one.outputs, str) and len(one.outputs) == 16 for one in monitor.predictions())
    monitor.stop()


def test_exception_texts_are_stored_only_on_request(tmp_path: Path) -> None:
    for wanted, expected in ((False, "ValueError"), (True, f"ValueError: {SECRET}")):
        monitor = made(tmp_path, {}, store_error_text=wanted)
        with pytest.raises(ValueError, match=SECRET), monitor.watch():
            raise ValueError(SECRET)
        assert monitor.flush()
        assert next(monitor.predictions()).error == expected
        if not wanted:
            assert SECRET.encode() not in everything_on_disk(tmp_path)
        monitor.stop()


def test_hashed_features_are_what_is_learned(tmp_path: Path) -> None:
    monitor = made(tmp_path, {"inputs.user": "hash", "inputs.photo": "drop"})
    with monitor:
        for i in range(50):
            monitor.log_prediction({"user": f"{SECRET}-{i % 3}", "photo": SECRET, "x": float(i)}, 1.0)
        monitor.flush()
        monitor.check_drift()
        names = {row["feature"] for row in monitor.get_status()["features"]}
    assert names == {"inputs.user", "inputs.x", "outputs.value"}
    assert SECRET.encode() not in everything_on_disk(tmp_path)
