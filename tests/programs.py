"""Programs that tests run as processes of their own."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a Python program; what it prints can be read line by line."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run(script: str, *arguments: object, timeout: float = 200) -> str:
    """What a Python program prints; it must end with status 0."""
    process = start(script, *arguments)
    output, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, f"exit status {process.returncode}: {output}"
    return output


def kill(process: subprocess.Popen[str]) -> str:
    """End a program with SIGKILL; what it had printed."""
    process.kill()
    with process:
        assert process.stdout is not None
        return process.stdout.read()  # communicate() would lose what readline() has read ahead
