"""Time and boot: the wall clock, the monotonic clock, the boot's id, and whether the wall clock is right.

A `Clock` is handed to whatever needs time; tests hand in a `ManualClock` and never patch anything.
"""

from __future__ import annotations

import os
import time
from functools import lru_cache
from pathlib import Path

STA_UNSYNC = 0x0040  # include/uapi/linux/timex.h


class Clock:
    """The machine's clocks.

    >>> clock = Clock()
    >>> clock.monotonic() <= clock.monotonic()
    True
    """

    def __init__(self, proc: str | os.PathLike[str] = "/proc") -> None:
        self._proc = Path(proc)

    def time(self) -> float:
        """Unix seconds by the wall clock, which may be wrong or jump."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never go back, shared by all processes of this boot, counting while suspended."""
        try:
            return time.clock_gettime(time.CLOCK_BOOTTIME)
        except (AttributeError, OSError):  # macOS
            return time.monotonic()

    def boot_id(self) -> str:
        """The kernel's id of this boot."""
        return _boot_id(self._proc)

    def is_synchronised(self) -> bool | None:
        """Whether the kernel holds the wall clock to be disciplined by a time source; None if unknown."""
        return _kernel_clock_synchronised()


@lru_cache(maxsize=8)
def _boot_id(proc: Path) -> str:
    try:
        return (proc / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        import uuid

        # Without the kernel's id the boot is told apart by when it began, to the ten seconds.
        began = int((time.time() - time.monotonic()) // 10)
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"boot-{began}"))


@lru_cache(maxsize=1)
def _adjtimex() -> object:
    import ctypes

    try:
        return ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None


def _kernel_clock_synchronised() -> bool | None:
    adjtimex = _adjtimex()
    if adjtimex is None:
        return None
    import ctypes

    timex = ctypes.create_string_buffer(512)  # struct timex, larger than on any architecture; modes = 0 reads
    state: int = adjtimex(timex)  # type: ignore[operator]
    if state < 0:
        return None
    return state != 5  # TIME_ERROR: the clock is not synchronised


class ManualClock(Clock):
    """A clock that moves only when told to: `advance` moves both clocks, `jump` the wall clock alone."""

    def __init__(
        self, time: float = 1_700_000_000.0, boot_id: str = "boot-1", synchronised: bool = True
    ) -> None:
        super().__init__()
        self.wall, self.mono, self.boot, self.synchronised = time, 1000.0, boot_id, synchronised

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.mono

    def boot_id(self) -> str:
        return self.boot

    def is_synchronised(self) -> bool | None:
        return self.synchronised

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.wall += seconds
        self.mono += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward (or back) without time passing."""
        self.wall += seconds
