"""Delivery with real processes, a real folder and a real bucket: crashes, forks, several at once."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import os
import re
import subprocess
import sys
import textwrap
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_mlops_monitor import outbox
from edge_mlops_monitor.config.sections import Telemetry
from edge_mlops_monitor.records import KINDS, Prediction
from edge_mlops_monitor.store import Store
from edge_mlops_monitor.telemetry.sinks import SINKS
from edge_mlops_monitor.telemetry.sinks.file import FileSink
from edge_mlops_monitor.telemetry.uploader import Uploader
from edge_mlops_monitor.worker import Worker
from faulty_http_server import HANG, STORE_THEN_DROP, Answer, FaultyServer

SETTINGS = Telemetry(max_batch_size=50, retry_base_delay_seconds=0.0)


def fill(path: Path, count: int) -> Store:
    store = Store(path, device_id="pi-7", has_sinks=True)
    with store.transaction() as tx:
        tx.append("predictions", [Prediction(id=f"p-{i}", inputs={"a": i / 7}) for i in range(count)])
    return store


def delivered(folder: Path) -> Counter[int]:
    """How often each sequence number of the predictions is in the folder."""
    rows: Counter[int] = Counter()
    for file in folder.glob("v1/kind=predictions/*/*.jsonl.gz"):
        rows.update(json.loads(line)["seq"] for line in gzip.decompress(file.read_bytes()).splitlines())
    return rows


def python(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


DIES = """
    import os, sys
    from edge_mlops_monitor.config.sections import Telemetry
    from edge_mlops_monitor.store import Store
    from edge_mlops_monitor.telemetry.sinks.file import FileSink
    from edge_mlops_monitor.telemetry.uploader import Uploader

    class Dying(FileSink):
        left = int(sys.argv[3])

        def put(self, *arguments):
            answer = super().put(*arguments)
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), 9)  # it is there, and nobody has written that down
            return answer

    store = Store(sys.argv[1], has_sinks=True)
    sink = Dying(sys.argv[2])
    Uploader(store, {"folder": lambda: sink}, Telemetry(max_batch_size=50)).drain()
"""


def test_a_crash_between_uploaded_and_settled_makes_no_duplicate(tmp_path: Path) -> None:
    store = fill(tmp_path / "m.db", 500)
    folder = tmp_path / "bucket"
    for _ in range(4):
        died = python(DIES, tmp_path / "m.db", folder, 3)
        died.communicate(timeout=60)
        assert died.returncode == -9
    assert 0 < sum(delivered(folder).values()) < 500
    Uploader(store, {"folder": lambda: FileSink(str(folder))}, SETTINGS).drain()
    assert delivered(folder) == Counter(range(1, 501))
    assert outbox.pending_count(store) == 0
    store.close()


def drain_a_folder(path: str, folder: str, together: Any) -> None:
    store = Store(path, has_sinks=True)
    together.wait(30)
    Uploader(store, {"folder": lambda: FileSink(folder)}, SETTINGS).drain()
    store.close()


def test_two_processes_that_upload_at_once_deliver_each_record_once(tmp_path: Path) -> None:
    fill(tmp_path / "m.db", 3000).close()
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(2)
    arguments = (str(tmp_path / "m.db"), str(tmp_path / "bucket"), together)
    processes = [spawn.Process(target=drain_a_folder, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert delivered(tmp_path / "bucket") == Counter(range(1, 3001))


HOLDS = """
    import sys, time
    from edge_mlops_monitor import leases
    from edge_mlops_monitor.store import Store
    assert leases.acquire(Store(sys.argv[1]), "upload")
    print("held", flush=True)
    time.sleep(600)
"""


def test_while_another_process_uploads_nothing_is_sent_and_when_it_dies_we_take_over(tmp_path: Path) -> None:
    store = fill(tmp_path / "m.db", 100)
    folder = tmp_path / "bucket"
    one = Uploader(store, {"folder": lambda: FileSink(str(folder))}, Telemetry(upload_interval_seconds=5))
    holder = python(HOLDS, tmp_path / "m.db")
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert [one.step(now) for now in (0.0, 10.0, 20.0)] == [5.0, 5.0, 5.0]
        assert not folder.exists()
    finally:
        holder.kill()
        holder.communicate()
    now = 30.0
    while now < 60.0:
        now += max(one.step(now), 0.001)
    assert delivered(folder) == Counter(range(1, 101))
    one.close()
    store.close()


@pytest.fixture
def s3(tmp_path: Path) -> Any:
    pytest.importorskip("obstore", reason="the extra s3 is not installed")

    def make(server: FaultyServer, **keywords: Any) -> Any:
        keys = {"access_key_id": "a", "secret_access_key": "b", "timeout_seconds": 5.0}
        return SINKS["s3"]("bucket", endpoint_url=server.url, **{**keys, **keywords})

    return make


def test_a_bucket_that_fails_in_every_way_gets_every_record_once(tmp_path: Path, s3: Any) -> None:
    store = fill(tmp_path / "m.db", 1000)
    faults = [
        STORE_THEN_DROP,
        Answer(503, {"Retry-After": "0"}),
        None,
        Answer(500),
        STORE_THEN_DROP,
        Answer(409),
        None,
    ]
    with FaultyServer(*faults) as server:
        while Uploader(store, {"s3": partial(s3, server)}, SETTINGS).drain(timeout=0.5)["pending"]:
            pass
        bodies = [body for key, body in server.objects.items() if "kind=predictions" in key]
    rows = Counter(json.loads(line)["seq"] for body in bodies for line in gzip.decompress(body).splitlines())
    assert rows == Counter(range(1, 1001))
    store.close()


def test_wrong_credentials_keep_everything_and_say_so(tmp_path: Path, s3: Any) -> None:
    store = fill(tmp_path / "m.db", 100)
    denied = Answer(403, None, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")
    with FaultyServer(always=denied) as server:
        result = Uploader(store, {"s3": partial(s3, server)}, SETTINGS).drain()
        assert len(server.requests) == 1
    assert result["pending"] == 3
    assert result["dead_letters"] == 0
    assert "AccessDenied" in result["errors"]["s3"]
    store.close()


def test_stopping_does_not_wait_for_a_network_that_hangs(tmp_path: Path, s3: Any) -> None:
    store = fill(tmp_path / "m.db", 100)
    with FaultyServer(always=HANG) as server:
        settings = Telemetry(upload_interval_seconds=0.1)
        one = Uploader(store, {"s3": partial(s3, server, timeout_seconds=60.0)}, settings)
        worker = Worker("upload", one.step, 0.1)
        worker.start()
        until = time.monotonic() + 30
        while not server.requests and time.monotonic() < until:
            time.sleep(0.01)
        assert server.requests
        began = time.monotonic()
        one.stop()
        worker.stop(timeout=0.1)
        assert time.monotonic() - began < 20
        server.closing.set()
        assert worker.stop(timeout=30)
    one.close()
    store.close()


EXITS = """
    import sys, time
    sys.path.insert(0, sys.argv[2])
    from faulty_http_server import HANG, FaultyServer
    from edge_mlops_monitor.config.sections import Telemetry
    from edge_mlops_monitor.store import Store
    from edge_mlops_monitor.telemetry.sinks.object_store import S3
    from edge_mlops_monitor.telemetry.uploader import Uploader
    from edge_mlops_monitor.worker import Worker

    server = FaultyServer(always=HANG).__enter__()
    sink = S3("bucket", endpoint_url=server.url, access_key_id="a", secret_access_key="b")
    one = Uploader(Store(sys.argv[1]), {"s3": lambda: sink}, Telemetry(upload_interval_seconds=0.1))
    Worker("upload", one.step, 0.1).start()
    while not server.requests:
        time.sleep(0.01)
"""


def test_a_program_ends_while_an_upload_hangs(tmp_path: Path) -> None:
    pytest.importorskip("obstore", reason="the extra s3 is not installed")
    fill(tmp_path / "m.db", 100).close()
    program = python(EXITS, tmp_path / "m.db", os.path.dirname(__file__))
    program.communicate(timeout=60)
    assert program.returncode == 0


PROJECT = Path(__file__).resolve().parents[1]
DOCUMENT = PROJECT / "docs" / "object-schema.md"


def test_the_documented_lines_have_the_fields_of_their_kind_and_no_other() -> None:
    lines = re.findall(r"^### (\w+)\n.*?^```json\n(.*?)\n```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    assert [kind for kind, _ in lines] == list(KINDS)
    for kind, line in lines:
        assert list(json.loads(line)) == list(KINDS[kind].__struct_fields__)
        msgspec.json.decode(line, type=KINDS[kind])


def test_every_type_of_event_is_documented() -> None:
    sources = (PROJECT / "src" / "edge_mlops_monitor").rglob("*.py")
    told = re.compile(r'(?:\.(?:event|order)\(\s*|\btype=|\bChange\(\s*)"([a-z_]{3,})"')
    types = {name for path in sources for name in told.findall(path.read_text(encoding="utf-8"))}
    assert {"loss", "generation", "rebaseline", "spike", "drift"} <= types
    assert [name for name in sorted(types) if f"`{name}`" not in DOCUMENT.read_text(encoding="utf-8")] == []


def test_the_documented_queries_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    store = fill(tmp_path / "m.db", 120)
    with store.transaction() as tx:
        tx.event("loss", "warning", "2 records were given up")
    Uploader(store, {"folder": lambda: FileSink(str(tmp_path / "bucket"))}, SETTINGS).drain()
    monkeypatch.chdir(tmp_path)
    queries = re.findall(r"^```sql\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    answers = [duckdb.connect().execute(query).fetchall() for query in queries]
    assert answers[0][0][:2] == ("pi-7", 120)
    assert answers[1] == [("pi-7", store.generation, 0)]
    assert [row[2] for row in answers[2]] == ["loss"]
    store.close()


def test_duckdb_reads_the_objects_as_one_table(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    store = fill(tmp_path / "m.db", 1234)
    Uploader(store, {"folder": lambda: FileSink(str(tmp_path / "bucket"))}, SETTINGS).drain()
    found = (
        duckdb.connect()
        .execute(
            f"""
        SELECT count(*), count(DISTINCT seq), max(seq), any_value(device_id), any_value(kind), sum(inputs.a)
        FROM read_json('{tmp_path}/bucket/v1/kind=predictions/*/*.jsonl.gz',
                       format='newline_delimited', hive_partitioning=true)
        """
        )
        .fetchall()[0]
    )
    assert found[:5] == (1234, 1234, 1234, "pi-7", "predictions")
    assert found[5] == pytest.approx(sum(i / 7 for i in range(1234)))
    store.close()
