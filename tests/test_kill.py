"""kill -9 at any moment: what flush() confirmed is there, once, and nothing else was made up."""

from __future__ import annotations

import random
import sqlite3
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from edge_mlops_monitor.records import Event, Prediction
from edge_mlops_monitor.store import Store
from programs import kill, started, until

LOGS = """
    import random, sys
    from edge_mlops_monitor import EdgeMonitor

    path, name, seed = sys.argv[1:4]
    chance = random.Random(int(seed))
    logging = {"flush_interval_seconds": 0.02}
    monitor = EdgeMonitor(config={"storage": {"sqlite_path": path}, "model_logging": logging})
    monitor._runtime.start_uploading()  # the writer alone: no NumPy, a quick start
    tried, number = [], 0
    print("began", flush=True)
    while True:
        for _ in range(chance.choice((1, 5, 300))):
            given = f"{name}-{number}" if chance.random() < 0.2 else None
            number += 1
            tried.append(monitor.log_prediction({"x": chance.random()}, name, prediction_id=given))
        print(*("tried " + id for id in tried), sep="\\n", flush=True)
        if chance.random() < 0.5 and monitor.flush():
            print(*("sure " + id for id in tried), sep="\\n", flush=True)
            tried.clear()
"""


def oracle(printed: str) -> tuple[set[str], set[str]]:
    """Ids that were tried and ids that flush() confirmed; a line that was cut off says nothing."""
    lines = [line.split() for line in printed.splitlines(keepends=True) if line.endswith("\n")]
    words = [line for line in lines if len(line) == 2]
    return {id for _, id in words}, {id for word, id in words if word == "sure"}


def check(path: Path, tried: set[str], sure: set[str], writers: set[str]) -> None:
    # Opening it repairs it, as the next start of the monitor would; nothing before may have set it aside.
    store = Store(path)
    stored = [one for one in store.newest("predictions") if isinstance(one, Prediction)]
    ids = [one.id for one in stored]
    assert sure.issubset(ids), "confirmed, yet missing"
    assert len(set(ids)) == len(ids), "stored twice"
    for generation in {one.generation for one in stored}:
        numbers = sorted(one.seq for one in stored if one.generation == generation)
        assert numbers == list(range(1, len(numbers) + 1)), "a sequence has a hole"
    assert store.counts()["predictions"] == len(ids)
    reasons = [one.data["reason"] for one in store.newest("events") if isinstance(one, Event)]
    assert reasons == ["first start"], "the database was not replaced"
    store.close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    # Ids are printed after they were logged, so the last batch of each process may be stored without.
    unknown = Counter(one.outputs for one in stored if one.id not in tried)
    assert set(unknown) <= writers, "invented"
    assert max(unknown.values(), default=0) <= 300, "invented"


def run(path: Path, kills: int, writers: int, seed: int) -> None:
    chance = random.Random(seed)
    tried: set[str] = set()
    sure: set[str] = set()
    names: set[str] = set()
    for turn in range(kills):
        each = [f"w{turn}-{i}" for i in range(writers)]
        with ExitStack() as stack:
            processes = [
                stack.enter_context(started(LOGS, path, name, chance.randrange(10**9))) for name in each
            ]
            for process in processes:
                assert process.stdout is not None
                assert process.stdout.readline() == "began\n"
            # On a slow disk nothing would ever be confirmed in a quarter of a second.
            before = [until(process, "sure") if turn % 3 == 2 else "" for process in processes]
            time.sleep(chance.uniform(0.0, 0.25))  # the moment of the kill is what is random here
            for process, printed in zip(processes, before, strict=True):
                for known, new in zip((tried, sure), oracle(printed + kill(process)), strict=True):
                    known |= new
        names |= set(each)
        check(path, tried, sure, names)
    assert sure, "nothing was ever confirmed, so nothing was looked at"


def test_nothing_confirmed_is_lost_when_a_writer_is_killed_again_and_again(tmp_path: Path) -> None:
    run(tmp_path / "m.db", kills=15, writers=1, seed=1)


def test_nor_when_two_write_at_once_and_both_are_killed(tmp_path: Path) -> None:
    run(tmp_path / "m.db", kills=6, writers=2, seed=2)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(3))
def test_nor_in_hundreds_of_kills(tmp_path: Path, seed: int) -> None:
    run(tmp_path / "m.db", kills=200, writers=1 + seed, seed=seed)
