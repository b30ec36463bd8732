"""What a large array costs the caller's thread, beside its floor: one `mean` of NumPy over the whole array.

Summaries and means take turns, so that what else the machine does meets both alike. The last figures are a
whole logging call with one array in it, and what NumPy and the signs of the projection hold in memory.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from workload import arguments, config, figure, percentile, report, scratch

from edge_mlops_monitor import EdgeMonitor
from edge_mlops_monitor.arrays import signs, summarise

Array = NDArray[Any]


def arrays() -> dict[str, Array]:
    """What cameras and models hand over; the transposed view does not lie in one piece."""
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (1080, 1920, 3), dtype=np.uint8)
    return {
        "a 1080p colour frame, uint8": frame,
        "the same, channels first, a view": frame.transpose(2, 0, 1),
        "a 1080p colour frame, float32": frame.astype(np.float32),
        "a 224 by 224 model input, float32": rng.random((1, 3, 224, 224), dtype=np.float32),
        "an embedding of 512": rng.random(512, dtype=np.float32),
        "an embedding of 4096": rng.random(4096, dtype=np.float32),
        "a minute of sound, 960 000 samples": rng.random(960_000, dtype=np.float32),
    }


def taking_turns(first: Callable[[], object], second: Callable[[], object], count: int) -> list[float]:
    """Microseconds of both, medians."""
    times: list[list[float]] = [[], []]
    for number in range(count + 5):
        for call, into in zip((first, second), times, strict=True):
            began = time.perf_counter()
            call()
            if number >= 5:
                into.append((time.perf_counter() - began) * 1e6)
    return [percentile(one, 0.5) for one in times]


def of_summaries(count: int) -> list[dict[str, Any]]:
    found = []
    for name, array in arrays().items():
        ours, mean = taking_turns(lambda array=array: summarise(array), array.mean, count)
        large = array.nbytes > 4_000_000
        found.append(
            figure(
                f"the summary of {name}",
                ours,
                "us",
                beside=mean,
                beside_is="one mean over it",
                goal=1000,
                ratio_goal=1 if large else None,
            )
        )
    return found


def of_calls(count: int) -> list[dict[str, Any]]:
    frame = arrays()["a 1080p colour frame, uint8"]
    with scratch() as folder, EdgeMonitor(config=config(folder)) as monitor:
        log = monitor.log_prediction
        ours, mean = taking_turns(lambda: log({"frame": frame}, 0.5), frame.mean, count)
    what = "a call with a 1080p colour frame, median"
    return [figure(what, ours, "us", beside=mean, beside_is="one mean over it", goal=1000, ratio_goal=1)]


def of_memory() -> list[dict[str, Any]]:
    program = (
        "import numpy, workload; before = workload.resident_mb(); "
        "from edge_mlops_monitor.arrays import summarise; summarise(numpy.ones({})); "
        "print(workload.resident_mb() - before)"
    )
    found = []
    for size in (512, 8192):
        command = [sys.executable, "-c", program.format(size)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=sys.path[0])
        what = f"memory that the first embedding of {size} takes beside NumPy"
        held = f"the signs are {signs(size).nbytes / (1 << 20):.2g} of it"
        found.append(figure(what, float(done.stdout), "MB", goal=4, note=held))
    return found


if __name__ == "__main__":
    given = arguments()
    rounds = 50 if given.quick else 400
    report("arrays", of_summaries(rounds) + of_calls(rounds) + of_memory())
