"""Programs that tests run as processes of their own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def started(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A Python program whose output can be read line by line; it ends with the block, also when a test fails.

    One left behind would fail whichever test runs when it is collected.
    """
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def run(script: str, *arguments: object, timeout: float = 200) -> str:
    """What a Python program prints; it must end with status 0."""
    with started(script, *arguments) as process:
        output, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, f"exit status {process.returncode}: {output}"
    return output


def until(process: subprocess.Popen[str], word: str) -> str:
    """What it prints, up to the first line that begins so."""
    assert process.stdout is not None
    printed = ""
    for line in process.stdout:
        printed += line
        if line.startswith(word):
            break
    return printed


def kill(process: subprocess.Popen[str]) -> str:
    """End a program with SIGKILL; what it had printed."""
    process.kill()
    with process:
        assert process.stdout is not None
        return process.stdout.read()  # communicate() would lose what readline() has read ahead
