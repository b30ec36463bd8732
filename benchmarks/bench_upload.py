"""How fast predictions reach a bucket, and how many bytes that takes. Prints one JSON object.

A device with 100 000 stored predictions of 20 features drains to moto, an S3 server on loopback. Beside it
the floor: the same number of bytes put by the same client without any sealing. Run it with nothing else
on the machine: moto and the uploader share its cores.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_mlops_monitor import outbox
from edge_mlops_monitor.config.sections import Telemetry
from edge_mlops_monitor.records import Prediction
from edge_mlops_monitor.store import Store
from edge_mlops_monitor.telemetry.encoding import encode
from edge_mlops_monitor.telemetry.sinks.object_store import S3
from edge_mlops_monitor.telemetry.uploader import Uploader

RECORDS = int(os.environ.get("BENCH_UPLOAD_RECORDS", "100000"))
BLOCK = 1000
WORKLOADS = {"random_floats": None, "three_decimals": 3}


def prediction(rng: random.Random, index: int, decimals: int | None) -> Prediction:
    """20 features and 2 outputs; sensor values scatter around 20 with a standard deviation of 3."""

    def value() -> float:
        return rng.random() if decimals is None else round(rng.gauss(20.0, 3.0), decimals)

    return Prediction(
        ts=1_700_000_000.0 + index * 0.0500371,
        id=f"3f2a9c0d11b2-{index}",
        model="detector",
        model_version="3",
        source="camera-1",
        inputs={f"sensor_{number}": value() for number in range(20)},
        outputs={"label": "ok", "score": value()},
        latency_seconds=rng.random() / 100,
    )


def filled_store(folder: str, decimals: int | None) -> Store:
    store = Store(Path(folder, "m.db"), device_id="pi-7-1a2b3c4d", max_bytes=1 << 30, has_sinks=True)
    rng = random.Random(1)
    for start in range(0, RECORDS, BLOCK):
        block = [prediction(rng, index, decimals) for index in range(start, min(start + BLOCK, RECORDS))]
        with store.transaction() as tx:
            tx.append("predictions", block)
    return store


@contextmanager
def moto() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{url}/moto-api/", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        urllib.request.urlopen(urllib.request.Request(f"{url}/bench", method="PUT"), timeout=10).close()
        yield url
    finally:
        server.kill()
        server.wait()


def sink(url: str, prefix: str) -> S3:
    return S3("bench", prefix=prefix, endpoint_url=url, access_key_id="a", secret_access_key="b")


def sealing_cost(store: Store) -> dict[str, float]:
    """CPU of encoding and compressing alone, and what it leaves of the lines."""
    mark, records, body_bytes, json_bytes = 0, 0, 0, 0
    began = time.process_time()
    while (batch := encode(blocks_after(store, mark), mark)) is not None:
        mark = batch.mark
        records += batch.records
        body_bytes += len(batch.body)
        json_bytes += batch.json_bytes
    seconds = time.process_time() - began
    return {
        "encode_and_compress_us_per_prediction": round(seconds / records * 1e6, 2),
        "json_lines_bytes_per_prediction": round(json_bytes / records, 1),
        "wire_bytes_per_prediction": round(body_bytes / records, 1),
        "wire_share_of_json_lines": round(body_bytes / json_bytes, 4),
    }


def blocks_after(store: Store, mark: int) -> Iterator[Any]:
    while found := store.blocks("predictions", mark, 4):
        yield from found
        mark = found[-1].key


def upload(store: Store, url: str, name: str) -> dict[str, float]:
    """One drain, and beside it the puts alone."""
    uploader = Uploader(store, {"s3": lambda: sink(url, f"{name}/")}, Telemetry())
    wall, cpu = time.perf_counter(), time.process_time()
    result = uploader.drain()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert result["pending"] == 0, result
    sent = uploader.states()["s3"]
    body = os.urandom(sent.bytes // sent.objects)
    bare = sink(url, f"{name}-floor/")
    floor = time.perf_counter()
    for number in range(sent.objects):
        bare.put(str(number), body, "application/gzip")
    floor = time.perf_counter() - floor
    return {
        "objects": sent.objects,
        "seconds": round(wall, 2),
        "cpu_us_per_prediction": round(cpu / RECORDS * 1e6, 2),
        "floor_puts_alone_seconds": round(floor, 2),
        "left_pending": outbox.pending_count(store),
    }


def main() -> None:
    found: dict[str, Any] = {"benchmark": "upload", "records": RECORDS}
    with moto() as url:
        for name, decimals in WORKLOADS.items():
            with tempfile.TemporaryDirectory() as folder:
                store = filled_store(folder, decimals)
                found[name] = {**sealing_cost(store), **upload(store, url, name)}
                store.close()
    found["goals"] = {
        "seconds": 10.0,
        "random_floats_wire_share": 0.35,
        "three_decimals_wire_share": 0.20,
        "encode_and_compress_us": 20.0,
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
