"""Under which name a database counts on: its own, unless it was written on other hardware.

A copied card, disk or image gives two boards one id. Whichever starts on other hardware than before takes
a new one, so that a fleet shows both. A new board with the old card cannot be told from that.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import msgspec

from edge_mlops_monitor.hardware import fingerprint, is_other
from edge_mlops_monitor.identity import clone_device_id, default_device_id, random_device_id

if TYPE_CHECKING:
    from edge_mlops_monitor.transaction import Transaction

logger = logging.getLogger("edge_mlops_monitor")

STATE = "hardware"


def begin_generation(tx: Transaction, reason: str, wanted: str, root: str | os.PathLike[str]) -> None:
    """Begin a generation under the wanted name or the one before; on other hardware say so by an event."""
    before = tx.device_id
    if not _has_moved(tx, root):
        default = wanted or before or default_device_id(root) or random_device_id(root)
        tx.begin_generation(reason, default)
        return
    name = wanted or clone_device_id(root)
    tx.begin_generation("other hardware", name)
    message = (
        f"the database was written on other hardware (a copied card, or a new board): {_named(before, name)}"
    )
    logger.warning(message)
    tx.event("clone", "warning", message, device_id=name, previous=before)


def _named(before: str, name: str) -> str:
    if name != before:
        return f"the device is {name} from now on, it was {before}"
    return f"{name} comes from the config and stays; where both run, give one another device_id"


def _has_moved(tx: Transaction, root: str | os.PathLike[str]) -> bool:
    """Whether this is other hardware than before; what was read of it is kept for the next time."""
    before, now = _kept(tx), fingerprint(root)
    moved = is_other(before, now)
    after = now if moved else before | now
    if after != before:
        tx.put(STATE, msgspec.json.encode(after))
    return moved


def _kept(tx: Transaction) -> dict[str, str]:
    try:
        return msgspec.json.decode(tx.get(STATE) or b"{}", type=dict[str, str])
    except msgspec.DecodeError:
        return {}
