"""Ids of predictions: unique, whoever asks for them at the same moment."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest

from edge_mlops_monitor.capture.hotpath import ids


@pytest.fixture
def restless_threads() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("restless_threads")
def test_threads_that_ask_at_the_same_moment_get_ids_of_their_own() -> None:
    next_id = ids("3f2a9c0d11b2").__next__
    found: list[list[str]] = [[] for _ in range(8)]
    errors: list[BaseException] = []

    def ask(mine: list[str]) -> None:
        try:
            for _ in range(40_000):
                mine.append(next_id())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=ask, args=(mine,)) for mine in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    everything = [id for mine in found for id in mine]
    assert len(set(everything)) == len(everything) == 8 * 40_000


def test_a_signal_handler_that_asks_while_an_id_is_made_gets_one_of_its_own() -> None:
    class Session(str):
        """Asks for an id while the prefix of the next thousand is made, as a signal handler may."""

        def __format__(self, spec: str) -> str:
            if asking:
                asking.pop()
                inside.append(next_id())
            return "3f2a9c0d11b2"

    asking = [True]
    inside: list[str] = []
    next_id = ids(Session()).__next__
    outside = [next_id() for _ in range(3000)]
    assert len(inside) == 1
    assert len({*inside, *outside}) == 3001
