"""The documents: their links lead somewhere, their code is code, and what is marked `run` runs.

A fenced block that begins with ```python run is run by Python, one with ```console run has its `$` lines run
by the shell; each by itself, all blocks of one document in the same empty folder, in order. One that begins
with ```text printed is what the block before it prints, whatever the numbers are.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

PROJECT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    [*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md"), *(PROJECT / "examples").rglob("*.md")]
)
NAMES = [path.relative_to(PROJECT).as_posix() for path in DOCUMENTS]


class Block(NamedTuple):
    """A fenced block: the words after the fence, the line it begins at, the text."""

    words: list[str]
    line: int
    text: str


def blocks(text: str) -> list[Block]:
    pattern = re.compile(r"^```(\w[^\n]*)\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)
    return [Block(m[1].split(), text.count("\n", 0, m.start()) + 2, m[2]) for m in pattern.finditer(text)]


def prose(text: str) -> str:
    return re.sub(r"^```.*?^```\s*$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+?)\s*$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_there_are_documents() -> None:
    assert {"README.md", "CHANGELOG.md", "docs/architecture.md", "docs/upgrading.md"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_relative_links_lead_somewhere(name: str) -> None:
    path = PROJECT / name
    text = re.sub(r"`[^`\n]*`", "", prose(path.read_text()))
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        if not linked.exists() or (anchor and anchor not in anchors(linked.read_text())):
            broken.append(target)
        assert linked.is_relative_to(PROJECT), f"{target} leads out of the project"
    assert broken == []


@pytest.mark.parametrize("name", NAMES)
def test_python_blocks_are_python(name: str) -> None:
    for block in blocks((PROJECT / name).read_text()):
        if block.words[0] == "python":
            compile(block.text, f"{name}:{block.line}", "exec")


RUNNABLE = [name for name in NAMES if any("run" in b.words[1:] for b in blocks((PROJECT / name).read_text()))]


@pytest.mark.parametrize("name", RUNNABLE)
def test_blocks_marked_run_do_run(name: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("EDGE_MLOPS_MONITOR")},
        "HOME": str(home),
        "XDG_STATE_HOME": str(home / "state"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    folder = tmp_path / "work"
    folder.mkdir()
    printed = ""
    for block in blocks((PROJECT / name).read_text()):
        if "printed" in block.words[1:]:
            assert lacking(block, printed) == [], f"{name}:{block.line}, of what was printed:\n{printed}"
        if "run" not in block.words[1:]:
            continue
        printed = ""
        for command in commands(block):
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=250
            )
            assert done.returncode == 0, f"{name}:{block.line}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
            printed += done.stdout


def lacking(block: Block, printed: str) -> list[str]:
    """The lines of a block that the program does not print, whatever the numbers are; `...` is anything."""
    there = [shape(line) for line in printed.splitlines()]
    patterns = {line: re.escape(shape(line)).replace(r"\.\.\.", ".*") for line in block.text.splitlines()}
    return [line for line, one in patterns.items() if not any(re.fullmatch(one, line) for line in there)]


def shape(line: str) -> str:
    """A line with # in place of numbers, times and ids.

    >>> shape("one in  1,000: 3f2a-7 since 2026-11-25 21:39, class_0 at 96.2%")
    'one in #: # since # #, class_0 at #%'
    """
    return " ".join(re.sub(r"\b[0-9a-f]*\d(?:[\w.,:-]*\w)?", "#", line).split())


def commands(block: Block) -> list[list[str]]:
    if block.words[0] == "python":
        return [[sys.executable, "-c", block.text]]
    assert block.words[0] == "console", f"cannot run a block of {block.words[0]}"
    lines = re.findall(r"^\$ (.+)$", block.text.replace("\\\n", " "), re.MULTILINE)
    assert lines, "a console block marks its commands with '$ '"
    return [["bash", "-c", line] for line in lines]


def test_documents_were_run() -> None:
    assert RUNNABLE


def test_every_decision_is_listed() -> None:
    folder = PROJECT / "docs" / "decisions"
    index = (folder / "README.md").read_text()
    decisions = [path.name for path in sorted(folder.glob("[0-9]*.md"))]
    assert [name for name in decisions if f"({name})" not in index] == []
    numbers = [name[:4] for name in decisions]
    assert len(numbers) == len(set(numbers))


def test_the_readme_begins_with_the_two_commands() -> None:
    text = (PROJECT / "README.md").read_text()
    assert 0 <= text.find("make demo") < text.find("make test")
