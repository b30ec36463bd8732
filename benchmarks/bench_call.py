"""What a call costs the caller's thread, beside its floor: encode both dicts, append to a deque.

Drift and upload are on. Calls of ours and of the floor take turns, in chunks in the busy loop and one by one
where the host sleeps between two calls, so that what else the machine does meets both alike. System calls
are counted by strace between two marks that the caller makes.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from workload import Payload, arguments, config, figure, payloads, percentile, report, scratch

from edge_mlops_monitor import EdgeMonitor

CHUNK = 250
Call = Callable[[Any, Any], object]


def floor() -> Call:
    """Encode both dicts in the format of the monitor, and append."""
    encode, buffer = msgspec.msgpack.Encoder().encode, deque[bytes](maxlen=20_000)
    append = buffer.append

    def log(inputs: Any, outputs: Any) -> None:
        append(encode((inputs, outputs)))

    return log


def nothing(inputs: Any, outputs: Any) -> None:
    """What measuring a call costs by itself."""


def chunk(call: Call, rows: list[Payload], into: list[float]) -> None:
    clock = time.perf_counter_ns
    for inputs, outputs in rows:
        began = clock()
        call(inputs, outputs)
        into.append((clock() - began) / 1000)


def busy_loop(calls: list[Call], rows: list[Payload], chunks: int, pause: float) -> list[list[float]]:
    """Microseconds of each call, the calls taking turns in chunks; `pause` between two turns."""
    times: list[list[float]] = [[] for _ in calls]
    for number in range(chunks):
        start = number * CHUNK % len(rows)
        for call, into in zip(calls, times, strict=True):
            chunk(call, rows[start : start + CHUNK], into)
        if pause:
            time.sleep(pause)
    return times


def sleeping_host(calls: list[Call], rows: list[Payload], count: int) -> list[list[float]]:
    """The same, where the host sleeps for 2 ms before each call."""
    times: list[list[float]] = [[] for _ in calls]
    for number in range(count):
        for call, into in zip(calls, times, strict=True):
            time.sleep(0.002)
            chunk(call, rows[number % len(rows) :][:1], into)
    return times


def measure(quick: bool) -> None:
    rows = payloads()
    with scratch() as folder:
        monitor = EdgeMonitor(config=config(folder, upload=True, telemetry={"upload_interval_seconds": 2}))
        calls = [floor(), monitor.log_prediction, nothing]
        with monitor:
            busy_loop(calls, rows, 40, 0.01)
            time.sleep(1)
            # 250 calls of ours in about 12 ms: 20 000 a second, which the whole monitor can keep up with.
            busy = busy_loop(calls, rows, 100 if quick else 800, 0.010)
            flat_out = busy_loop(calls, rows, 100 if quick else 400, 0.0)
            monitor.flush(60)
            asleep = sleeping_host(calls, rows, 200 if quick else 1500)
            dropped = monitor.get_status()["dropped"]
    report("call", figures(busy, flat_out, asleep) + system_calls(), dropped=dropped)


def figures(busy: Any, flat_out: Any, asleep: Any) -> list[dict[str, Any]]:
    own = percentile(busy[2], 0.5)
    at: dict[str, Any] = {"beside_is": "encode both dicts, append to a deque"}
    base = percentile(busy[0], 0.5) - own
    tail = percentile(asleep[0], 0.99) - own
    return [
        figure(
            "a call in a busy loop, median",
            percentile(busy[1], 0.5) - own,
            "us",
            beside=base,
            ratio_goal=2,
            **at,
        ),
        figure(
            "a call in a busy loop, p99 beside the floor's median",
            percentile(busy[1], 0.99) - own,
            "us",
            beside=base,
            ratio_goal=10,
            **at,
        ),
        figure(
            "the same flat out, faster than can be stored, p99 beside the floor's median",
            percentile(flat_out[1], 0.99) - own,
            "us",
            beside=percentile(flat_out[0], 0.5) - own,
            **at,
        ),
        figure(
            "a call of a host that sleeps between calls, p99",
            percentile(asleep[1], 0.99) - own,
            "us",
            beside=tail,
            ratio_goal=3,
            **at,
        ),
    ]


TRACED = 1000


def traced() -> None:
    """The program under strace: calls between two marks."""
    rows = payloads()
    with scratch() as folder, EdgeMonitor(config=config(folder, upload=True)) as monitor:
        log = monitor.log_prediction
        for inputs, outputs in rows[:100]:
            log(inputs, outputs)
        time.sleep(1)
        Path("/mark-begin").exists()
        for inputs, outputs in rows[:TRACED]:
            log(inputs, outputs)
        Path("/mark-end").exists()


def system_calls() -> list[dict[str, Any]]:
    """How many system calls the caller's thread makes in 1000 calls; nothing where there is no strace."""
    if shutil.which("strace") is None:
        return []
    with scratch() as folder:
        trace = Path(folder, "trace")
        command = ["strace", "-f", "-o", str(trace), sys.executable, __file__, "--part", "traced"]
        done = subprocess.run(command, capture_output=True, timeout=120)
        if done.returncode != 0:
            return []
        found = between_marks(trace.read_text().splitlines())
    note = ", ".join(f"{name} {count}" for name, count in found.most_common())
    return [
        figure("system calls of the caller in 1000 calls", found.total(), "calls", goal=0, note=note),
    ]


def between_marks(lines: list[str]) -> Counter[str]:
    begin = next(number for number, line in enumerate(lines) if '"/mark-begin"' in line)
    thread = lines[begin].split()[0]
    found: Counter[str] = Counter()
    for line in lines[begin + 1 :]:
        pid, _, what = line.partition(" ")
        if '"/mark-end"' in line:
            break
        if pid == thread and "(" in what and "resumed>" not in what:
            found[what.strip().partition("(")[0]] += 1
    return found


if __name__ == "__main__":
    given = arguments()
    if given.part == "traced":
        traced()
    else:
        measure(given.quick)
