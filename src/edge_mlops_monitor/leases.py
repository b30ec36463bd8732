"""Leases: which process samples the system, decides, and uploads.

A lease names its holder by process id, start time and boot. Another process takes it over at once when
that process is gone, or, where it cannot look (another pid namespace), when it was not renewed in time.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_mlops_monitor.store import Store

_HOLDER = "SELECT pid, started, namespace, boot_id, renewed FROM leases WHERE role = ?"


Holder = tuple[int, str, str, str]  # process id, start time, namespace, boot id
TTL_SECONDS = 600.0  # every renewal is a commit, and wears the flash


def acquire(store: Store, role: str, ttl: float = TTL_SECONDS) -> bool:
    """True while this process holds `role`; takes it where nobody living does."""
    me = _me(store)
    now = store.clock.monotonic()
    known = _answer(store.query(_HOLDER, (role,)), me, now, ttl)
    if known is not None:
        return known
    with store.transaction() as tx:
        answer = _answer(tx.sql(_HOLDER, (role,)).fetchall(), me, now, ttl)
        if answer is None:
            tx.sql("INSERT OR REPLACE INTO leases VALUES (?,?,?,?,?,?)", (role, *me, now))
        return answer is not False


def _me(store: Store) -> Holder:
    return (os.getpid(), _started(os.getpid()), _namespace(os.getpid()), store.clock.boot_id())


def _answer(rows: list[Any], me: Holder, now: float, ttl: float) -> bool | None:
    """True: it is ours and fresh. False: somebody living has it. None: to be taken, or renewed."""
    if not rows:
        return None
    if rows[0][:4] == me:
        return True if 0 <= now - rows[0][4] < ttl / 3 else None
    return False if _alive(rows[0], me, now, ttl) else None


def release(store: Store, role: str) -> None:
    """Let another process have `role` at once."""
    with store.transaction() as tx:
        tx.sql("DELETE FROM leases WHERE role = ? AND pid = ?", (role, os.getpid()))


def holders(store: Store) -> dict[str, int]:
    """Role -> process id, of the leases whose holders live."""
    now, me = store.clock.monotonic(), _me(store)
    rows = store.query("SELECT role, pid, started, namespace, boot_id, renewed FROM leases")
    return {role: holder[0] for role, *holder in rows if _alive(tuple(holder), me, now, TTL_SECONDS)}


def _alive(row: tuple[int, str, str, str, float], me: Holder, now: float, ttl: float) -> bool:
    pid, started, namespace, boot_id, renewed = row
    if boot_id != me[3]:
        return False
    if namespace == me[2]:
        return _started(pid) == started
    return 0 <= now - renewed < ttl


def _started(pid: int) -> str:
    """When a process began, as the kernel counts it; "" where it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        if Path("/proc/self").exists():
            return ""
        return _started_elsewhere(pid)
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


def _started_elsewhere(pid: int) -> str:
    import psutil  # macOS has no /proc

    try:
        return str(psutil.Process(pid).create_time())
    except psutil.Error:
        return ""


@lru_cache(maxsize=2)
def _namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""
