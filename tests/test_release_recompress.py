"""The wheel compressed again: the same to whoever reads it, and smaller."""

from __future__ import annotations

import base64
import csv
import hashlib
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from release import recompress
from release.problem import Problem

from release_tiny import needs, tiny, write

needs("hatchling", "zopfli")


@pytest.fixture(scope="module")
def by_zlib(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel as hatchling leaves it."""
    project = tiny(tmp_path_factory.mktemp("by-zlib"))
    text = "".join(path.read_text() for path in sorted(Path(recompress.__file__).parent.glob("*.py")))
    write(project.root / "src" / project.package / "more.py", text)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run(command, cwd=project.root, check=True, capture_output=True)
    return next((project.root / "dist").iterdir())


def again(wheel: Path, folder: Path) -> Path:
    copy = folder / wheel.name
    copy.write_bytes(wheel.read_bytes())
    recompress.recompress(copy, recompress.zopfli())
    return copy


def said(wheel: Path) -> list[tuple[object, ...]]:
    """All that a wheel says but how it is compressed."""
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        kept = ("filename", "date_time", "external_attr", "create_version", "extra", "comment", "CRC")
        return [(*(getattr(info, name) for name in kept), archive.read(info)) for info in archive.infolist()]


def test_a_wheel_compressed_again_says_the_same_in_fewer_bytes(by_zlib: Path, tmp_path: Path) -> None:
    smaller = again(by_zlib, tmp_path)
    assert said(smaller) == said(by_zlib)
    assert smaller.stat().st_size < 0.98 * by_zlib.stat().st_size


def test_a_wheel_is_compressed_again_to_the_same_bytes_each_time(by_zlib: Path, tmp_path: Path) -> None:
    once = again(by_zlib, tmp_path)
    first = once.read_bytes()
    (tmp_path / "twice").mkdir()
    assert again(by_zlib, tmp_path / "twice").read_bytes() == first
    assert again(once, tmp_path).read_bytes() == first


def test_a_wheel_compressed_again_reads_from_its_beginning_without_the_directory(
    by_zlib: Path, tmp_path: Path
) -> None:
    wheel = again(by_zlib, tmp_path)
    data, at = wheel.read_bytes(), 0
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            signature, size, name, extra = struct.unpack_from("<4s14xL4xHH", data, at)
            assert (signature, size, at) == (b"PK\3\4", info.compress_size, info.header_offset)
            at += 30 + name + extra + size
    assert data[at : at + 4] == b"PK\1\2"


def test_pip_installs_a_wheel_compressed_again(by_zlib: Path, tmp_path: Path) -> None:
    wheel = again(by_zlib, tmp_path)
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--target", tmp_path / "to"]
    subprocess.run([*command, wheel], check=True, capture_output=True)
    with zipfile.ZipFile(wheel) as archive:
        record = next(name for name in archive.namelist() if name.endswith("/RECORD"))
        lines = list(csv.reader(archive.read(record).decode().splitlines()))
    assert len(lines) > 5
    for name, digest, size in lines:
        if name != record:
            data = (tmp_path / "to" / name).read_bytes()
            found = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            assert (f"sha256={found}", str(len(data))) == (digest, size), name


@pytest.mark.parametrize("stream", [b"\x03\x00", b"\x07"])  # of nothing; of a kind that there is not
def test_a_wheel_that_does_not_read_the_same_is_not_kept(
    by_zlib: Path, tmp_path: Path, stream: bytes
) -> None:
    wheel = tmp_path / by_zlib.name
    wheel.write_bytes(by_zlib.read_bytes())
    with pytest.raises(Problem, match=r"does not read the same once compressed again; look at"):
        recompress.recompress(wheel, lambda data: stream)
    assert wheel.read_bytes() == by_zlib.read_bytes()
