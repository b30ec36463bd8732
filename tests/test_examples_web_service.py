"""The example `web_service.py`: two real worker processes under concurrent load, one of them killed."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bucket_on_loopback import Bucket, environment, free_port, s3_server, wait_for

for module in ("moto.server", "boto3", "duckdb", "obstore", "sklearn", "starlette", "uvicorn", "httpx"):
    pytest.importorskip(module, reason=f"{module} is not installed")

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
LEARNED = 300
SETTINGS = {
    "EDGE_MLOPS_MONITOR_CONFIG": EXAMPLES / "web_service.yaml",
    "EDGE_MLOPS_MONITOR__SYSTEM__SAMPLING_INTERVAL_SECONDS": 0.5,
    "EDGE_MLOPS_MONITOR__MODEL_LOGGING__FLUSH_INTERVAL_SECONDS": 0.2,
    "EDGE_MLOPS_MONITOR__DRIFT_DETECTION__LEARN_REFERENCE": LEARNED,
    "EDGE_MLOPS_MONITOR__DRIFT_DETECTION__LEARN_REFERENCE_HOURS": 0,
    "EDGE_MLOPS_MONITOR__TELEMETRY__UPLOAD_INTERVAL_SECONDS": 0.5,
}
ROLES = {"system", "decide", "upload"}


class Service:
    """The running example."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, settings: dict[str, str]) -> None:
        self.process, self.url, self.settings = process, url, settings

    def status(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/status", timeout=20) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def holders(self) -> dict[str, int]:
        """Which worker holds each role, once each is held by one that answers."""
        return poll(lambda: self._living_holders(), "no worker took every role")

    def _living_holders(self) -> dict[str, int]:
        held: dict[str, int] = self.status()["processes"]
        return held if held.keys() == ROLES and all(alive(pid) for pid in held.values()) else {}

    def workers(self, count: int) -> set[int]:
        """The process ids of the workers, once `count` of them answer."""
        seen: set[int] = set()

        def look() -> set[int]:
            seen.add(self.status()["worker"])
            return seen if len(seen) >= count else set()

        return poll(look, f"fewer than {count} workers answered")

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(100)

    def upload(self) -> None:
        """What an operator types once the service is down."""
        command = [sys.executable, "-m", "edge_mlops_monitor", "upload"]
        done = subprocess.run(command, env=self.settings, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr


def poll(look: Any, complaint: str, seconds: float = 100) -> Any:
    """What `look` finds, once it finds anything."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(complaint)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def service(database: Path, **more: object) -> Iterator[Service]:
    port = free_port()
    settings = environment(**SETTINGS, **more, EDGE_MLOPS_MONITOR__STORAGE__SQLITE_PATH=database)
    command = [sys.executable, str(EXAMPLES / "web_service.py"), "--port", str(port)]
    process = subprocess.Popen(command, env=settings, start_new_session=True)
    try:
        wait_for(f"http://127.0.0.1:{port}/status", process)
        yield Service(process, f"http://127.0.0.1:{port}", settings)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # the session of our own that it began
            process.wait()


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server() as url:
        yield url


def to(bucket: Bucket, url: str) -> dict[str, object]:
    return {
        "EDGE_MLOPS_MONITOR__STORAGE__BUCKET": bucket.name,
        "EDGE_MLOPS_MONITOR__STORAGE__ENDPOINT_URL": url,
    }


def wines(count: int, seed: int = 1) -> list[dict[str, float]]:
    """Analyses drawn with replacement from scikit-learn's, with 1 % of made-up measurement noise.

    Without the noise the same 178 rows would come again and again.
    """
    from sklearn.datasets import load_wine

    wine, rng = load_wine(), random.Random(seed)
    rows = [rng.choice(wine.data) for _ in range(count)]
    return [
        {name: float(x) * rng.gauss(1, 0.01) for name, x in zip(wine.feature_names, row, strict=True)}
        for row in rows
    ]


class Load:
    """Sends requests, `clients` at a time; what was answered is in `answers`, by request."""

    def __init__(self, url: str, clients: int = 16) -> None:
        self.url, self.clients = url, clients
        self.answers: dict[int, dict[str, Any]] = {}
        self.repeated = 0

    def send(self, requests: list[tuple[str, dict[str, Any]]], on_answer: Any = lambda count: None) -> None:
        asyncio.run(self._send(requests, on_answer))

    async def _send(self, requests: list[tuple[str, dict[str, Any]]], on_answer: Any) -> None:
        import httpx

        waiting = list(enumerate(requests, len(self.answers)))[::-1]
        # A connection for each request: one worker may accept all that are open at the same moment.
        anew = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=self.url, timeout=30, limits=anew) as client:

            async def work() -> None:
                while waiting:
                    number, (path, sample) = waiting.pop()
                    self.answers[number] = await self._ask(client, path, sample)
                    on_answer(len(self.answers))

            await asyncio.gather(*[work() for _ in range(self.clients)])

    async def _ask(self, client: Any, path: str, sample: dict[str, Any]) -> dict[str, Any]:
        import httpx

        while True:
            try:
                answer = await client.post(path, json=sample)
            except httpx.TransportError:  # the worker at the other end was killed
                self.repeated += 1
                continue
            assert answer.is_success, answer.text
            found: dict[str, Any] = answer.json()
            return found


def requests(
    samples: list[dict[str, float]], certified_every: int = 10
) -> list[tuple[str, dict[str, float]]]:
    return [("/predict" if k % certified_every else "/certify", sample) for k, sample in enumerate(samples)]


def test_two_workers_are_one_device(tmp_path: Path, s3: str) -> None:
    bucket = Bucket(s3, "two-workers", tmp_path / "bucket")
    healthy, faulty = wines(600), wines(300, seed=2)
    for sample in faulty:
        sample["alcohol"] += 1.5  # the sensor reads too much
    with service(tmp_path / "wine.db", **to(bucket, s3)) as running:
        workers = running.workers(2)
        load = Load(running.url)
        load.send(requests(healthy))
        broken_at = time.time()
        load.send(requests(faulty))
        known = {answer["id"]: answer["cultivar"] for answer in load.answers.values() if "id" in answer}
        load.send([("/tasted", {"id": id, "cultivar": cultivar}) for id, cultivar in known.items()])
        holders = running.holders()
        assert running.stop() == 0
        running.upload()
    assert load.repeated == 0
    assert set(holders.values()) <= workers
    bucket.download()

    assert bucket.assert_complete("predictions") == 900
    assert bucket.rows("predictions", "count(DISTINCT id)") == [(900,)]
    by_worker = bucket.rows("predictions", "count(*)", "GROUP BY regexp_extract(id, '^(.*)-', 1)")
    assert len(by_worker) == 2
    certified = {answer["id"] for answer in load.answers.values() if "id" in answer}
    assert all(answer["durable"] for answer in load.answers.values() if "id" in answer)
    tagged = {id for (id,) in bucket.rows("predictions", "id", "WHERE tags IS NOT NULL")}
    assert tagged == certified
    assert len(certified) == bucket.assert_complete("actuals") == 90
    assert dict(bucket.rows("actuals", "prediction_id, actual")) == known

    assert_one_alarm_story(bucket, broken_at)
    assert_measured_once(bucket, workers)


def assert_one_alarm_story(bucket: Bucket, broken_at: float) -> None:
    """The broken sensor, after it broke, once; nothing lost, and nothing else that is wrong."""
    bucket.assert_complete("events")
    assert {type for (type,) in bucket.rows("events", "DISTINCT type")} <= {
        "generation",
        "reference_learned",
        "drift",
    }
    alarms = bucket.rows("events", "ts, data.feature", "WHERE severity = 'alarm'")
    assert [feature for _, feature in alarms if feature == "inputs.alcohol"] == ["inputs.alcohol"]
    assert all(ts > broken_at for ts, _ in alarms)
    assert {feature for _, feature in alarms} <= {"inputs.alcohol", "outputs.cultivar", "outputs.sure"}
    assert bucket.assert_complete("drift") > 0


def assert_measured_once(bucket: Bucket, workers: set[int]) -> None:
    """One worker measures the device, each measures itself."""
    bucket.assert_complete("system")
    uptimes = bucket.rows("system", "ts", "WHERE name = 'system.uptime' ORDER BY ts")
    lasted = uptimes[-1][0] - uptimes[0][0]
    assert lasted > 1.5
    assert len(uptimes) <= lasted / 0.5 + 3  # every 0.5 s, more where one takes over; both: twice as many
    measured = bucket.rows(
        "system", 'DISTINCT attributes."process.pid"', "WHERE name = 'process.thread.count'"
    )
    assert {int(pid) for (pid,) in measured} == workers


def test_when_the_worker_that_uploads_is_killed_another_takes_over(tmp_path: Path, s3: str) -> None:
    bucket = Bucket(s3, "killed-worker", tmp_path / "bucket")
    with service(tmp_path / "wine.db", **to(bucket, s3)) as running:
        workers = running.workers(2)
        before = running.holders()
        victim = before["upload"]

        def kill_in_the_middle(answered: int) -> None:
            if answered == 200 and alive(victim):
                os.kill(victim, signal.SIGKILL)

        load = Load(running.url)
        load.send(requests(wines(500), certified_every=2), kill_in_the_middle)
        after = running.holders()
        assert running.stop() == 0
        running.upload()
    assert victim in workers
    assert victim not in after.values()
    bucket.download()

    assert len(load.answers) == 500
    arrived = bucket.assert_complete("predictions")
    ids = [id for (id,) in bucket.rows("predictions", "id")]
    assert len(set(ids)) == len(ids) == arrived
    confirmed = {answer["id"] for answer in load.answers.values() if answer.get("durable")}
    assert len(confirmed) == 250
    assert confirmed <= set(ids)
    bucket.assert_complete("system")
    bucket.assert_complete("events")


def test_trouble_of_the_monitor_is_none_of_the_service(tmp_path: Path) -> None:
    occupied = tmp_path / "a-file-where-a-folder-should-be"
    occupied.touch()
    with service(occupied / "wine.db") as running:
        running.workers(2)
        load = Load(running.url)
        load.send(requests(wines(60), certified_every=20))
        status = running.status()
        assert running.stop() == 0
    cultivars = {answer["cultivar"] for answer in load.answers.values()}
    assert cultivars == {"class_0", "class_1", "class_2"}
    assert [answer["durable"] for answer in load.answers.values() if "id" in answer] == [False] * 3
    assert occupied.name in status["last_error"]
    assert not status["database"]["exists"]


def test_a_request_that_fails_is_answered_and_recorded_as_failed(tmp_path: Path) -> None:
    with service(tmp_path / "wine.db") as running:
        body = urllib.request.Request(f"{running.url}/predict", data=b'{"alcohol": 13}')
        with pytest.raises(urllib.request.HTTPError, match="400") as refused:
            urllib.request.urlopen(body, timeout=20)
        assert json.load(refused.value) == {"error": "the measurement 'malic_acid' is missing"}
        refused.value.close()
        running.stop()
        command = [sys.executable, "-m", "edge_mlops_monitor", "export", "--kind", "predictions"]
        done = subprocess.run(command, env=running.settings, capture_output=True, text=True, timeout=200)
    [prediction] = [json.loads(line) for line in done.stdout.splitlines()]
    assert (prediction["inputs"], prediction["error"]) == ({"alcohol": 13}, "KeyError")


def test_a_fault_inside_the_monitor_does_not_keep_a_service_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from edge_mlops_monitor import EdgeMonitor
    from edge_mlops_monitor.decider import Decider

    def break_down(*arguments: object, **more: object) -> None:
        raise TypeError("a mistake of ours")

    monkeypatch.setattr(Decider, "step", break_down)
    with EdgeMonitor(config={"storage": {"sqlite_path": str(tmp_path / "m.db")}}) as monitor:
        poll(lambda: monitor.get_status()["last_error"], "the decider said nothing")
        monitor.log_prediction({"a": 1}, 2, prediction_id="p-1")
    assert [prediction.id for prediction in monitor.predictions()] == ["p-1"]
    assert "TypeError: a mistake of ours" in caplog.text


def test_requests_that_wait_at_the_same_time_share_one_watch(tmp_path: Path) -> None:
    from edge_mlops_monitor import EdgeMonitor

    monitor = EdgeMonitor(config={"storage": {"sqlite_path": str(tmp_path / "m.db")}})
    watch = monitor.watch(model="wine")

    async def request(number: int, turns: int) -> tuple[str | None, int]:
        async with watch as call:
            call.inputs = {"number": number}
            for _ in range(turns):
                await asyncio.sleep(0)
            call.outputs = {"answer": number}
        return call.prediction_id, number

    async def all_at_once() -> list[tuple[str | None, int]]:
        return await asyncio.gather(*[request(number, turns) for number, turns in enumerate([5, 1, 4, 2, 3])])

    answered = asyncio.run(all_at_once())
    assert monitor.flush()
    recorded = {(p.id, p.inputs["number"], p.outputs["answer"]) for p in monitor.predictions()}
    assert recorded == {(id, number, number) for id, number in answered}
