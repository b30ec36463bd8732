"""Whether a host's own step gets slower in its tail: 1 ms of inference without the lock, 100 times a second.

The inference is one SHA-256 over as many bytes as take a millisecond here, which lets go of the interpreter's
lock as an inference engine does. Stretches with the monitor running (drift and upload on) and with it stopped
take turns, so that what else the machine does meets both alike.
"""

from __future__ import annotations

import hashlib
import random
import statistics
import time
from collections.abc import Callable
from itertools import chain

from workload import arguments, config, figure, payloads, percentile, report, scratch

from edge_mlops_monitor import EdgeMonitor

RATE = 100


def inference() -> Callable[[], object]:
    """About a millisecond of work that does not hold the interpreter's lock."""
    size = 1 << 20
    data = random.Random(0).randbytes(size)
    timings = []
    for _ in range(20):
        began = time.perf_counter()
        hashlib.sha256(data).digest()
        timings.append(time.perf_counter() - began)
    data = data * 4
    view = memoryview(data)[: int(size * 0.001 / min(timings))]
    return lambda: hashlib.sha256(view).digest()


def stretch(step: Callable[[int], object], seconds: float, into: list[float]) -> None:
    """Run `step` 100 times a second; milliseconds of each."""
    due = time.perf_counter()
    for number in range(int(seconds * RATE)):
        began = time.perf_counter()
        step(number)
        into.append((time.perf_counter() - began) * 1000)
        due += 1 / RATE
        time.sleep(max(0.0, due - time.perf_counter()))


def tail(turns: list[list[float]]) -> float:
    """The p99 of a turn: the median over all turns, so that one disturbed turn does not decide."""
    return statistics.median(percentile(turn, 0.99) for turn in turns)


def measure(quick: bool) -> None:
    rows, infer = payloads(), inference()
    seconds, turns = (5.5, 1) if quick else (10.5, 4)
    plain: list[list[float]] = [[] for _ in range(turns)]
    watched: list[list[float]] = [[] for _ in range(turns)]
    with scratch() as folder:
        sections = {"telemetry": {"upload_interval_seconds": 5}}
        monitor = EdgeMonitor(config=config(folder, upload=True, **sections))

        def step_with(number: int) -> None:
            infer()
            monitor.log_prediction(*rows[number % len(rows)], model="m")

        with monitor:  # brings the libraries, which happens once
            stretch(step_with, 1.5, [])
            monitor.flush()
        for turn in range(turns):
            stretch(lambda number: infer(), seconds, plain[turn])
            with monitor:
                stretch(step_with, 1.0, [])
                stretch(step_with, seconds, watched[turn])
        stored = monitor.get_status()
        monitor.stop()
    at = {"beside_is": "the same host without the monitor"}
    figures = [
        figure(
            "a host's step of 1 ms, median",
            percentile([*chain(*watched)], 0.5),
            "ms",
            beside=percentile([*chain(*plain)], 0.5),
            **at,
        ),
        figure(
            "a host's step of 1 ms, p99",
            tail(watched),
            "ms",
            beside=tail(plain),
            ratio_goal=1.1,
            **at,
        ),
        figure(
            "a host's step of 1 ms, longest", max(map(max, watched)), "ms", beside=max(map(max, plain)), **at
        ),
    ]
    report("host", figures, steps=sum(map(len, watched)), uploaded=stored["last_upload"] is not None)


if __name__ == "__main__":
    measure(arguments().quick)
