"""Uploads that may be repeated: what the index holds already, byte for byte, is not sent again."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from release import pypirc
from release.index import SETTINGS, Index, files, holds
from release.problem import Problem
from release.project import Project, last_line, tool

PLAIN = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "1000"}  # or twine breaks its sentences
PATIENCE = 300.0  # seconds until an index must show what it accepted


def upload(
    project: Project, index: Index, artefacts: Sequence[Path], *, patience: float = PATIENCE
) -> list[str]:
    """Send what the index does not hold, then see it there with the right digest; returns the names sent."""
    pypirc.check(index.pypirc, index.repository)
    sent = []
    for path in missing(project, index, artefacts):
        done = send(project, index, path)
        if done.returncode:
            raise explain(done, index, path)
        sent.append(path.name)
    _await(project, index, artefacts, patience)
    return sent


def send(project: Project, index: Index, path: Path) -> subprocess.CompletedProcess[str]:
    """One file, by twine, with the credentials of .pypirc, the environment or the keyring."""
    options = ["--non-interactive", "--disable-progress-bar", "--verbose"]
    where = ["--repository", index.repository, "--config-file", str(index.pypirc)]
    return tool("twine", "upload", *options, *where, path, cwd=project.root, env=PLAIN)


def missing(project: Project, index: Index, artefacts: Sequence[Path]) -> list[Path]:
    """The files that the index lacks; other bytes under one of the names are a `Problem`."""
    held = files(index, project.name)
    for path in artefacts:
        if path.name in held and not holds(held[path.name], path, index):
            raise taken(index, path)
    return [path for path in artefacts if path.name not in held]


def taken(index: Index, path: Path) -> Problem:
    return Problem(
        f"{index.repository} already holds {path.name} with other content, and no index lets a file be "
        "replaced; "
        "release under the next version number."
    )


def explain(done: subprocess.CompletedProcess[str], index: Index, path: Path) -> Problem:
    """What twine said, in one sentence with the remedy."""
    said = done.stdout + done.stderr
    status = re.search(r"HTTPError: (\d{3})", said)
    code = int(status[1]) if status else 0
    if code == 409 or (
        code == 400 and re.search(r"already exists|already been (used|taken)|conflict", said, re.I)
    ):
        return taken(index, path)
    if code == 400:
        reason = _reason(said)
        return Problem(
            f"{index.repository} refuses {path.name} as invalid ({reason}); correct it and build again."
        )
    if code in (401, 403) or "Credential not found" in said or "NonInteractive" in said:
        return _refused(index, code)
    if code in (404, 405, 501) or "RedirectDetected" in said:
        return Problem(
            f"nothing takes uploads at the address of {index.repository}; correct `repository` in "
            f"[{index.repository}] "
            f"of {index.pypirc}."
        )
    if code >= 500 or re.search(
        r"ConnectionError|Max retries|Connection (refused|aborted|reset)|Timeout", said
    ):
        return Problem(
            f"the upload of {path.name} to {index.repository} was interrupted ({code or 'no connection'}); "
            "run the same "
            "command again, which sends only what is missing."
        )
    return Problem(f"twine could not upload {path.name} ({last_line(done)}); see docs/publishing.md.")


def _refused(index: Index, code: int) -> Problem:
    why = {
        401: "the user and password or token are wrong or missing (401)",
        403: "the token is wrong, has expired, or may not upload this project (403)",
    }.get(code, "there is neither a token nor a password")
    return Problem(
        f"{index.repository} does not let us upload: {why}; put a token for this project into "
        f"[{index.repository}] of "
        f"{index.pypirc}, or into TWINE_PASSWORD with TWINE_USERNAME=__token__."
    )


def _reason(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    after = [lines[i + 1] for i, line in enumerate(lines[:-1]) if "HTTPError" in line]
    return (after or lines or ["no reason given"])[-1][:200]


def _await(project: Project, index: Index, artefacts: Sequence[Path], patience: float) -> None:
    """Indexes behind a cache show a file some time after they accepted it."""
    deadline, pause = time.monotonic() + patience, 0.2
    while waiting := missing(project, index, artefacts):
        if time.monotonic() > deadline:
            raise Problem(
                f"{index.repository} accepted {waiting[0].name} but does not list it at {index.simple_url}; "
                "look "
                f"whether {SETTINGS[index.repository]} belongs to the index that takes the uploads."
            )
        time.sleep(pause)
        pause = min(2 * pause, 15)
