"""Which hardware this is: what makers have written into a board, kept as short hashes.

Only what stays for the life of a board counts. A machine id is copied with the card; network cards, disks
and USB sticks are replaced; model and processor are the same in all devices of a fleet.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from edge_mlops_monitor.identity import first_text, keyed_hash

_KEY = b"edge-mlops-monitor hardware v1"
_PLACES = {
    "serial-number": ("proc/device-tree/serial-number", "sys/firmware/devicetree/base/serial-number"),
    # Of these three the kernel lets only root read.
    "product_uuid": ("sys/class/dmi/id/product_uuid",),
    "product_serial": ("sys/class/dmi/id/product_serial",),
    "board_serial": ("sys/class/dmi/id/board_serial",),
}
# What stands there where the maker wrote nothing: words without a digit ("To be filled by O.E.M."), one
# digit throughout, counted digits, and a UUID that many boards share.
_PLACEHOLDER = re.compile(
    r"\D*|[\W_]*(\w)(?:\1|[\W_])*|0?123456.*|03000200-0400-0500-0006-0007000800.*", re.I
)


def fingerprint(root: str | os.PathLike[str] = "/") -> dict[str, str]:
    """A hash of each number of this hardware that can be read, by its source; empty where there is none."""
    base = Path(root)
    found = {source: first_text(base, places) for source, places in _PLACES.items()}
    found["cpuinfo"] = _serial_of_cpu(base)
    return {
        source: keyed_hash(text.lower(), _KEY, 4)
        for source, text in found.items()
        if not _PLACEHOLDER.fullmatch(text)
    }


def is_other(before: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Whether two fingerprints are of different hardware: they share sources, and none of these agrees.

    What cannot be read now is not different, and one number that has changed (new firmware) is not either.

    >>> is_other({"serial-number": "a"}, {"serial-number": "b"})
    True
    >>> is_other({"serial-number": "a"}, {})
    False
    >>> is_other({"product_uuid": "a", "board_serial": "b"}, {"product_uuid": "c", "board_serial": "b"})
    False
    """
    shared = before.keys() & now.keys()
    return bool(shared) and all(before[source] != now[source] for source in shared)


def _serial_of_cpu(root: Path) -> str:
    """What a Raspberry Pi says in /proc/cpuinfo, also inside a container."""
    if (
        root / "sys/class/dmi/id"
    ).exists():  # a PC or server: no such line, and many processors to go through
        return ""
    line = re.search(r"^Serial\s*:(.*)$", first_text(root, ("proc/cpuinfo",), 1 << 16), re.M)
    return line.group(1).strip() if line else ""
