"""Who this device is: a readable id that survives restarts.

Machine ids and serial numbers are confidential (machine-id(5) asks that they never leave the
machine), so only keyed hashes of them are used. MAC addresses are not looked at: they identify
people's hardware across programs, and change with a USB dongle.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

# Key of the hash: it keeps our ids apart from what other programs derive from the same machine.
_ID_KEY = b"edge-mlops-monitor device id v1"
_VALID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_MACHINE_ID = ("etc/machine-id", "var/lib/dbus/machine-id")
_SERIAL = ("proc/device-tree/serial-number", "sys/firmware/devicetree/base/serial-number")


def check_device_id(text: str) -> str:
    """The device id itself where it is valid; otherwise ValueError in one sentence.

    >>> check_device_id("pi-7")
    'pi-7'
    >>> check_device_id("pi 7")
    Traceback (most recent call last):
    ValueError: device_id 'pi 7' is not valid; use 1 to 64 letters, digits, '.', '_' or '-'
    """
    if not _VALID.match(text):
        short = text if len(text) <= 70 else f"{text[:67]}..."
        raise ValueError(f"device_id {short!a} is not valid; use 1 to 64 letters, digits, '.', '_' or '-'")
    return text


def default_device_id(root: str | os.PathLike[str] = "/") -> str | None:
    """Host name and eight hex digits of a keyed hash of the machine; None where the machine has no identity.

    A caller that gets None makes a random id and stores it (see `random_device_id`).
    """
    machine = _machine(Path(root))
    if not machine:
        return None
    return f"{_host(Path(root))}-{keyed_hash(machine, _ID_KEY, 4)}"


def clone_device_id(root: str | os.PathLike[str] = "/") -> str:
    """An id for hardware that a copied card has come to: the default where that tells boards apart."""
    from edge_mlops_monitor.hardware import fingerprint

    board = fingerprint(root)
    default = default_device_id(root) if "serial-number" in board else None
    both = " ".join((_machine(Path(root)), *board.values()))
    return default or f"{_host(Path(root))}-{keyed_hash(both, _ID_KEY, 4)}"


def random_device_id(root: str | os.PathLike[str] = "/") -> str:
    """An id for a machine without an identity of its own; to be stored by whoever asks for it."""
    return f"{_host(Path(root))}-{os.urandom(4).hex()}"


def _machine(root: Path) -> str:
    """The machine id, which a copied card brings along, and the board's serial number, which it does not."""
    machine_id = first_text(root, _MACHINE_ID)
    if not re.fullmatch(r"[0-9a-f]{32}", machine_id) or not machine_id.strip("0"):
        machine_id = ""  # none yet, or only a placeholder
    return f"{machine_id} {first_text(root, _SERIAL)}".strip()


def first_text(root: Path, places: tuple[str, ...], most: int = 4096) -> str:
    """The text of the first of these files that says something, or its first `most` bytes."""
    for place in places:
        try:
            text = (root / place).read_bytes()[:most].replace(b"\0", b" ").decode("utf-8", "replace").strip()
        except OSError:
            continue
        if text:
            return text
    return ""


def _host(root: Path) -> str:
    """The host name without its domain, cleaned, and cut so that the id stays within 64 characters."""
    name = first_text(root, ("etc/hostname",)) if root != Path("/") else os.uname().nodename
    cleaned = re.sub(r"[^A-Za-z0-9_-]+", "-", name.split(".")[0]).strip("-")[:55].rstrip("-")
    return cleaned or "device"


def keyed_hash(text: str, key: bytes, size: int) -> str:
    """BLAKE2b in hexadecimal digits, two for each of `size` bytes."""
    try:
        from _blake2 import blake2b  # hashlib has the same and brings OpenSSL, 4 MB
    except ImportError:
        from hashlib import blake2b
    return blake2b(text.encode(), key=key, digest_size=size).hexdigest()
