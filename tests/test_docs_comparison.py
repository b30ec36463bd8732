"""The comparison with peers: every table names its command, and what is seeded is so today."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
PAGE = (PROJECT / "docs" / "comparison.md").read_text(encoding="utf-8")


def made(name: str) -> str:
    found = re.search(rf"<!-- {name}:begin -->\n(.*?)\n<!-- {name}:end -->", PAGE, re.DOTALL)
    assert found, f"docs/comparison.md has no table of {name}"
    return found[1]


def test_the_false_alarms_of_common_rules_are_those_that_the_command_counts() -> None:
    pytest.importorskip("numpy")
    from benchmarks.bench_rules import table

    assert made("rules") == table(), "run: python benchmarks/bench_rules.py --write"


@pytest.mark.parametrize("name", ["peers", "alarms of peers"])
def test_figures_of_peers_say_their_command_their_date_and_the_machine(name: str) -> None:
    said = made(name).splitlines()[-1]
    assert re.search(
        r"`python benchmarks/bench_peers\.py`, 20\d\d-\d\d-\d\d .*commit \w+: \d+ cores of", said
    )


def test_every_command_on_the_page_is_one_of_the_project() -> None:
    commands = re.findall(r"`python (\S+\.py)", PAGE)
    assert len(set(commands)) >= 3
    assert [path for path in commands if not (PROJECT / path).is_file()] == []
