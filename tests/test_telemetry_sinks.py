"""Every sink keeps the same promises; and what is particular to a folder."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge_mlops_monitor.telemetry.sinks import SINKS
from edge_mlops_monitor.telemetry.sinks.file import FileSink
from edge_mlops_monitor.telemetry.sinks.memory import MemorySink
from edge_mlops_monitor.telemetry.sinks.sink import Accepted, Answer, Conflict, Never, Sink, TryAgain
from faulty_http_server import FaultyServer

KEY = "v1/kind=events/dt=2026-01-01/pi-7-00001.aa-000000000001-000000000002.jsonl.gz"


def file_sink(folder: Path) -> Iterator[Sink]:
    yield FileSink(str(folder / "bucket"), prefix="site/")


def memory_sink(folder: Path) -> Iterator[Sink]:
    yield MemorySink(prefix="site/")


def s3_sink(folder: Path) -> Iterator[Sink]:
    pytest.importorskip("obstore", reason="the extra s3 is not installed")
    with FaultyServer() as server:
        keys = {"access_key_id": "a", "secret_access_key": "b"}
        yield SINKS["s3"]("bucket", prefix="site/", endpoint_url=server.url, **keys)


MAKERS: dict[str, Callable[[Path], Iterator[Sink]]] = {
    "file": file_sink,
    "memory": memory_sink,
    "s3": s3_sink,
}


@pytest.fixture(params=sorted(MAKERS))
def sink(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sink]:
    yield from MAKERS[request.param](tmp_path)


def test_the_contract_covers_every_sink_of_the_package() -> None:
    assert sorted(SINKS) == sorted(MAKERS)


def test_an_object_is_accepted_once_and_known_the_second_time(sink: Sink) -> None:
    assert sink.put(KEY, b"content", "application/gzip") == Accepted()
    assert sink.put(KEY, b"content", "application/gzip") == Accepted(existed=True)


def test_another_content_under_the_same_key_is_a_conflict_and_changes_nothing(sink: Sink) -> None:
    sink.put(KEY, b"first", "application/gzip")
    for other in (b"other", b"longer than that", b""):
        assert isinstance(sink.put(KEY, other, "application/gzip"), Conflict)
    assert sink.put(KEY, b"first", "application/gzip") == Accepted(existed=True)


def test_an_empty_object_and_a_large_one_are_accepted(sink: Sink) -> None:
    assert sink.put("v1/empty", b"", "text/plain") == Accepted()
    large = os.urandom(9 << 20)
    assert sink.put("v1/large", large, "text/plain") == Accepted()
    assert sink.put("v1/large", large, "text/plain") == Accepted(existed=True)


def test_a_healthy_sink_has_no_findings_and_closes_twice(sink: Sink) -> None:
    assert sink.check() == []
    sink.close()
    sink.close()


def test_an_object_in_a_folder_is_a_file_of_its_key_and_nothing_else_stays(tmp_path: Path) -> None:
    FileSink(str(tmp_path), prefix="site/").put(KEY, b"content", "application/gzip")
    files = [file.relative_to(tmp_path) for file in tmp_path.rglob("*") if file.is_file()]
    assert files == [Path("site", KEY)]
    assert (tmp_path / "site" / KEY).read_bytes() == b"content"


@pytest.mark.parametrize(
    "key", ["../out", "v1/../../out", "/etc/out", "v1//out", "v1/.", "v1/a\0b", ".incoming/x"]
)
def test_no_key_leads_out_of_the_folder(tmp_path: Path, key: str) -> None:
    folder = tmp_path / "inside"
    answer = FileSink(str(folder)).put(key, b"x", "text/plain")
    assert isinstance(answer, Never)
    assert "is not a path below the folder" in answer.reason
    assert not list(tmp_path.rglob("*out*"))


def test_of_many_writers_of_one_key_a_single_one_wins(tmp_path: Path) -> None:
    sink, count = FileSink(str(tmp_path)), 8
    together = threading.Barrier(count)

    def write(number: int) -> list[Answer]:
        answers = []
        for key in range(60):
            together.wait(30)
            answers.append(sink.put(f"v1/{key}", b"from %d" % number, "text/plain"))
        return answers

    with ThreadPoolExecutor(count) as pool:
        columns = list(pool.map(write, range(count)))
    for row in zip(*columns, strict=True):
        assert sorted(type(answer).__name__ for answer in row) == ["Accepted"] + ["Conflict"] * (count - 1)


def test_a_half_written_object_is_never_seen_and_an_old_one_is_swept(tmp_path: Path) -> None:
    incoming = tmp_path / ".incoming"
    incoming.mkdir()
    old, young = incoming / "old", incoming / "young"
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    FileSink(str(tmp_path)).put(KEY, b"content", "application/gzip")
    assert [file.name for file in incoming.iterdir()] == ["young"]


def test_a_folder_that_cannot_hold_links_still_takes_objects_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(source: object, target: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")  # as FAT says

    monkeypatch.setattr(os, "link", no_links)
    sink = FileSink(str(tmp_path))
    assert sink.put(KEY, b"content", "application/gzip") == Accepted()
    assert sink.put(KEY, b"content", "application/gzip") == Accepted(existed=True)
    assert isinstance(sink.put(KEY, b"other", "application/gzip"), Conflict)


def test_a_full_disk_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    sink = FileSink(str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        answer = sink.put("a", b"content", "text/plain")
    assert isinstance(answer, TryAgain)
    assert "No space left on device" in answer.reason
    assert not answer.refused
    assert sink.put("a", b"content", "text/plain") == Accepted()


def test_a_file_in_place_of_the_folder_is_refused_and_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    sink = FileSink(str(tmp_path / "taken"))
    answer = sink.put("a", b"content", "text/plain")
    assert isinstance(answer, TryAgain)
    assert answer.refused
    assert "is not a folder" in sink.check()[0]


def test_a_sink_without_a_place_says_what_to_set() -> None:
    with pytest.raises(ValueError, match="name the folder"):
        FileSink("")


def test_the_memory_sink_shows_what_it_was_sent() -> None:
    sink = MemorySink(answers=[TryAgain("offline")])
    assert sink.put("k", b"x", "text/plain") == TryAgain("offline")
    sink.put("k", b"x", "text/plain")
    assert (sink.attempts, sink.objects) == (["k", "k"], {"k": b"x"})
