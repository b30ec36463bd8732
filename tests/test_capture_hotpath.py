"""The caller's share: no system call, nobody woken below the watermark, no record lost between threads."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge_mlops_monitor.capture.recorder import Recorder
from edge_mlops_monitor.store import Store

LOGS = """
import os, sys, time
from edge_mlops_monitor import EdgeMonitor

config = {
    "storage": {"sqlite_path": sys.argv[1]},
    "model_logging": {"flush_interval_seconds": 3600, **%s},
    "system": {"sampling_interval_seconds": 3600},
}
monitor = EdgeMonitor(config=config)
monitor.start()
features = {f"feature_{i}": i / 7 for i in range(20)}

@monitor.watch(model="m")
def predict(features):
    return {"label": "cat", "score": 0.5}

def some(number):
    for _ in range(number):
        %s

some(2000)  # also what is done once
monitor.flush()
resting = False
while not resting:  # the threads behind it, however long that takes
    before = time.process_time()
    time.sleep(0.3)
    resting = time.process_time() - before < 0.01
os.write(1, b"begin")
some(5000)
os.write(1, b"end")
monitor.stop()
"""

CALLS = {
    "log_prediction": 'monitor.log_prediction(features, {"label": "cat", "score": 0.5}, model="m")',
    "given id": 'monitor.log_prediction(features, 1, prediction_id="p")',
    "watch": "predict(features)",
    "log_predictions": "monitor.log_predictions([1.0], [2.0])",
}


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("settings", ["{}", '{"redact": {"inputs.feature_1": "hash"}}'])
def test_a_logging_call_makes_no_system_call(tmp_path: Path, call: str, settings: str) -> None:
    program = LOGS % (settings, CALLS[call])
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-o", str(trace), sys.executable, "-c", program, str(tmp_path / "m.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    if done.returncode and "ptrace" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    made = calls_between_marks(trace.read_text().splitlines())
    # The clock is read without one (vDSO); memory for the buffer itself has to come from somewhere.
    memory = {"brk", "mmap", "munmap", "mremap", "madvise"}
    # Threads that want the interpreter's lock make its holder give it up every 5 ms: not ours to avoid.
    assert [name for name in made if name not in memory | {"futex"}] == []
    assert made.count("futex") < 1000, "a thread is woken by every one of the 5000 calls"
    assert sum(name in memory for name in made) < 500


def calls_between_marks(lines: list[str]) -> list[str]:
    """The system calls that the thread of the marks began between them, by name.

    Where threads run at once, strace writes a call in two halves: `write(1, "begin", 5 <unfinished ...>`,
    where it begins, and `<... write resumed>) = 5`, where it ends. The second half is of a call that was
    counted, or that began before the mark.
    """
    begin, end = (next(i for i, line in enumerate(lines) if f'"{word}"' in line) for word in ("begin", "end"))
    main = lines[begin].split()[0]
    begun = (re.match(rf"{main} +(\w+)\(", line) for line in lines[begin + 1 : end])
    return [call[1] for call in begun if call]


def test_a_call_is_counted_where_it_begins() -> None:
    trace = """\
7  write(1, "begin", 5 <unfinished ...>
8  getpid( <unfinished ...>
7  <... write resumed>)              = 5
7  futex(0x1, FUTEX_WAIT_PRIVATE, 0, NULL <unfinished ...>
8  <... getpid resumed>)             = 8
7  <... futex resumed>)              = -1 EAGAIN (Resource temporarily unavailable)
7  --- SIGCHLD {si_signo=SIGCHLD} ---
7  getrandom("x", 16, 0 <unfinished ...>
7  <... getrandom resumed>)          = 16
7  getpid()                          = 7
7  write(1, "end", 3)                = 3
7  getppid()                         = 1"""
    assert calls_between_marks(trace.splitlines()) == ["futex", "getrandom", "getpid"]


def test_nobody_is_woken_below_the_watermark(tmp_path: Path) -> None:
    store = Store(tmp_path / "m.db")
    recorder = Recorder(lambda: store, flush_interval=3600.0, max_bytes=4 << 20)
    for _ in range(5000):
        recorder.log_prediction({"a": 1.0}, 1)
    assert recorder.buffered == 5000
    assert not recorder.worker.running
    assert not recorder.worker.awake


def test_above_the_watermark_the_writer_comes_before_its_time(tmp_path: Path) -> None:
    store = Store(tmp_path / "m.db")
    stored = threading.Event()
    recorder = Recorder(lambda: store, flush_interval=3600.0, max_bytes=1 << 20, on_stored=stored.set)
    for _ in range(400):
        recorder.log_prediction({"text": "x" * 1000}, 1)
    assert stored.wait(20)
    assert recorder.flush(20)
    assert store.counts()["predictions"] == 400
    assert recorder.worker.stop()


def test_the_size_of_the_buffer_is_right_whatever_was_in_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "m.db")
    recorder = Recorder(lambda: store, max_bytes=2 << 20)
    for _ in range(20):  # far more than the bound in all, but never at once
        for value in ("x" * 400_000, list(range(50_000)), {"a": 1.0}):
            recorder.log_prediction(value, 1)
        assert recorder.write()
    assert store.counts()["predictions"] == 60
    assert "memory_full" not in store.losses()
    recorder.worker.stop()


def test_sixteen_threads_lose_nothing_and_share_no_id(tmp_path: Path) -> None:
    store = Store(tmp_path / "m.db")
    recorder = Recorder(lambda: store, flush_interval=0.01)
    recorder.worker.start()
    ids: list[str] = []
    threads = [
        threading.Thread(target=lambda: ids.extend(recorder.log_prediction(i, 1) for i in range(500)))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert recorder.flush(20)
    assert recorder.worker.stop()
    stored = [one.id for one in store.newest("predictions")]  # type: ignore[attr-defined]
    assert len(set(ids)) == 8000
    assert sorted(stored) == sorted(ids)


def test_what_is_not_configured_is_not_on_the_way(tmp_path: Path) -> None:
    from edge_mlops_monitor import EdgeMonitor

    plain = EdgeMonitor(config={"storage": {"sqlite_path": str(tmp_path / "a.db")}})
    assert plain.log_prediction is plain._runtime.recorder._hot.log
    sampled = EdgeMonitor(
        config={"storage": {"sqlite_path": str(tmp_path / "b.db")}, "model_logging": {"sample_rate": 0.5}}
    )
    assert sampled.log_prediction is not sampled._runtime.recorder._hot.log
