"""The finished wheel compressed again by zopfli: the same files, names, times and modes in fewer bytes.

Decision 0012 says why.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from zipfile import BadZipFile, ZipFile, ZipInfo

from release.problem import Problem

ITERATIONS = 15  # 50 save 0.2 kB more of 487, and take half as long again
# Where a zip file (APPNOTE 4.3) keeps what changes: the compressed size in a file's own header and in its
# entry of the directory, there also the place of that header, and in the end record that of the directory.
SIZE_IN_HEADER, SIZE_IN_ENTRY, PLACE_IN_ENTRY, PLACE_IN_END = 18, 20, 42, 16
HEADER, ENTRY = 30, 46  # bytes, without names and extra fields

Deflate = Callable[[bytes], bytes]


def zopfli() -> Deflate:
    """What compresses: a raw deflate stream, as zip files hold it."""
    try:
        module = import_module("zopfli.zlib")
    except ImportError:
        raise Problem("zopfli is not installed; run `pip install -e '.[dev]'`.") from None

    def deflate(data: bytes) -> bytes:
        stream: bytes = module.compress(data, numiterations=ITERATIONS)
        return stream[2:-4]  # without the header and the checksum of a zlib stream

    return deflate


def recompress(wheel: Path, deflate: Deflate) -> None:
    """Compress every file of the wheel again; whatever else it says stays as it is."""
    before = wheel.read_bytes()
    with ZipFile(io.BytesIO(before)) as archive:
        members, start = archive.infolist(), archive.start_dir
        with ThreadPoolExecutor() as pool:  # zopfli lets other threads run
            streams = list(pool.map(deflate, map(archive.read, members)))
    after = _put_together(before, members, streams, before[start:])
    if not _same(before, after):
        raise Problem(
            f"{wheel.name} does not read the same once compressed again; "
            "look at the zopfli that is installed, and at release/recompress.py."
        )
    wheel.write_bytes(after)


def _put_together(
    before: bytes, members: Sequence[ZipInfo], streams: Sequence[bytes], directory: bytes
) -> bytes:
    files, entries, at = bytearray(), bytearray(directory), 0
    for member, stream in zip(members, streams, strict=True):
        place = member.header_offset
        header = bytearray(before[place : place + HEADER + _more(before, place + 26, "<HH")])
        struct.pack_into("<L", header, SIZE_IN_HEADER, len(stream))
        struct.pack_into("<L", entries, at + SIZE_IN_ENTRY, len(stream))
        struct.pack_into("<L", entries, at + PLACE_IN_ENTRY, len(files))
        files += header + stream
        at += ENTRY + _more(directory, at + 28, "<HHH")
    struct.pack_into("<L", entries, at + PLACE_IN_END, len(files))
    return bytes(files + entries)


def _more(data: bytes, at: int, lengths: str) -> int:
    """How long name, extra field (and comment) are together."""
    return sum(struct.unpack_from(lengths, data, at))


def _same(before: bytes, after: bytes) -> bool:
    try:
        return _said(after) == _said(before)
    except (BadZipFile, zlib.error):
        return False


def _said(wheel: bytes) -> list[tuple[object, ...]]:
    """All that a wheel tells whoever reads it, in its order."""
    with ZipFile(io.BytesIO(wheel)) as archive:
        return [
            (each.filename, each.date_time, each.external_attr, each.extra, archive.read(each))
            for each in archive.infolist()
        ]
