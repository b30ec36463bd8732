"""A real S3 API on the loopback interface (moto), and its buckets read back as tables with DuckDB."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

KEYS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of a `moto_server` of our own."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/moto-api/", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def wait_for(url: str, process: subprocess.Popen[Any], seconds: float = 60) -> None:
    """Wait until `process` answers under `url`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, f"ended with {process.returncode} before it answered {url}"
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"no answer from {url}")


def keys_under(policy: str, url: str) -> dict[str, str]:
    """Keys of a new user who may do what a policy says, and nothing else."""
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
    ours = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    iam = boto3.client("iam", endpoint_url=url, **ours)
    iam.create_user(UserName="device")
    iam.put_user_policy(UserName="device", PolicyName="guide", PolicyDocument=policy)
    key = iam.create_access_key(UserName="device")["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


@contextmanager
def policies_in_force(url: str) -> Iterator[None]:
    """While it lasts the server looks at who asks; else it lets anybody."""
    ask = partial(
        urllib.request.Request, f"{url}/moto-api/reset-auth", headers={"Content-Type": "text/plain"}
    )
    urllib.request.urlopen(ask(data=b"0"), timeout=60).close()
    try:
        yield
    finally:
        urllib.request.urlopen(ask(data=b"inf"), timeout=60).close()


def environment(**more: object) -> dict[str, str]:
    """The environment of a child: ours without what configures a monitor, with the keys to the bucket."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EDGE_MLOPS_MONITOR")}
    return {**kept, **KEYS, **{name: str(value) for name, value in more.items()}}


class Bucket:
    """One bucket; `download` first, then the tables are what lies in it."""

    def __init__(self, url: str, name: str, folder: Path) -> None:
        boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
        self.name, self.folder = name, folder
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
        self._s3 = boto3.client("s3", endpoint_url=url, **keys)
        self._s3.create_bucket(Bucket=name)

    def download(self) -> list[str]:
        """Mirror every object to the folder; the keys."""
        keys = []
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.name):
            for listed in page.get("Contents", []):
                target = self.folder / listed["Key"]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(self._s3.get_object(Bucket=self.name, Key=listed["Key"])["Body"].read())
                keys.append(listed["Key"])
        return keys

    def rows(self, kind: str, columns: str, tail: str = "") -> list[tuple[Any, ...]]:
        """`SELECT columns FROM the records of a kind`, by DuckDB."""
        duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
        objects = str(self.folder / f"**/kind={kind}/*/*.jsonl.gz")
        how = "format = 'newline_delimited', hive_partitioning = false, union_by_name = true"
        query = f"SELECT {columns} FROM read_json('{objects}', {how}) {tail}"
        found: list[tuple[Any, ...]] = duckdb.sql(query).fetchall()
        return found

    def assert_complete(self, kind: str) -> int:
        """Every sequence number of a kind once, from 1 without a gap, in one generation; how many."""
        [(records, numbers, first, last, generations)] = self.rows(
            kind, "count(*), count(DISTINCT seq), min(seq), max(seq), count(DISTINCT generation)"
        )
        assert (numbers, first, last, generations) == (records, 1, records, 1)
        return int(records)
