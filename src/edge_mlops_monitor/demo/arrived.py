"""What arrived in the folder of uploads, read as any other program would read it."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import msgspec


class Arrived(msgspec.Struct, kw_only=True):
    """Objects, bytes, records by kind, and what is wrong with them: `twice` and `missing` count records."""

    objects: int = 0
    bytes: int = 0
    records: dict[str, int] = msgspec.field(default_factory=dict)
    twice: int = 0
    missing: int = 0
    predictions: list[dict[str, Any]] = msgspec.field(default_factory=list)


def arrived(folder: Path) -> Arrived:
    """Read every object below `folder`; sequence numbers tell what is there twice, or not at all."""
    found = Arrived()
    numbers: dict[tuple[str, str], list[int]] = {}
    for path in sorted(folder.glob("v1/kind=*/dt=*/*.jsonl.gz")):
        kind = path.parts[-3].partition("=")[2]
        found.objects += 1
        found.bytes += path.stat().st_size
        for line in gzip.decompress(path.read_bytes()).splitlines():
            record = msgspec.json.decode(line)
            numbers.setdefault((kind, record["generation"]), []).append(record["seq"])
            if kind == "predictions":
                found.predictions.append(record)
    for (kind, _), seen in numbers.items():
        found.records[kind] = found.records.get(kind, 0) + len(seen)
        found.twice += len(seen) - len(set(seen))
        found.missing += max(seen) - len(set(seen))  # numbers begin with 1
    found.predictions.sort(key=lambda record: (record["generation"], record["seq"]))
    return found
