"""Clean, isolated, reproducible builds of one commit: what git holds, and nothing that lies around."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from subprocess import run as run_bytes

from release.problem import Problem
from release.project import Project, last_line, tool
from release.recompress import recompress, zopfli

# The second build runs under other circumstances: whatever they leave in the files would show.
CIRCUMSTANCES = (
    {"TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "1"},
    {"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "2"},
)


def build(project: Project, folder: Path, *, isolated: bool = True) -> list[Path]:
    """Build HEAD twice, compare, and leave wheel and sdist in `folder`, emptied before.

    The first build makes the wheel from the sdist, the second straight from the tree, so that equal
    bytes also mean that the sdist is complete. What was found equal is then made smaller (`recompress`).
    """
    project.commit()  # or git says here what is wrong
    deflate = zopfli()  # or it is said here that it is missing
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        first, second = Path(scratch) / "one", Path(scratch) / "another" / "place"
        _build(project, first, ["--outdir", "dist"], CIRCUMSTANCES[0], isolated)
        _build(project, second, ["--outdir", "dist", "--sdist", "--wheel"], CIRCUMSTANCES[1], isolated)
        _compare(first / "dist", second / "dist")
        for path in (first / "dist").iterdir():
            shutil.copy(path, folder / path.name)
    made = artefacts(folder)
    recompress(made[0], deflate)
    return made


def artefacts(folder: Path) -> list[Path]:
    """The wheel and the sdist in a folder, in this order."""
    found = [*sorted(folder.glob("*.whl")), *sorted(folder.glob("*.tar.gz"))]
    if [path.suffix for path in found] != [".whl", ".gz"]:
        raise Problem(f"{folder.name}/ does not hold one wheel and one sdist; run `python -m release build`.")
    return found


def digest(path: Path, algorithm: str = "sha256") -> str:
    return hashlib.new(algorithm, path.read_bytes()).hexdigest()


def _build(
    project: Project, folder: Path, options: list[str], circumstances: Mapping[str, str], isolated: bool
) -> None:
    _export(project, folder)
    env = {
        "SOURCE_DATE_EPOCH": project.git("log", "-1", "--format=%ct"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    isolation = [] if isolated else ["--no-isolation"]
    done = tool("build", *options, *isolation, str(folder), cwd=folder, env={**env, **circumstances})
    if done.returncode:
        raise Problem(f"the build failed ({last_line(done)}); `python -m build` shows all of its output.")


def _export(project: Project, folder: Path) -> None:
    """What the commit holds, without history and without what git does not know."""
    archive = run_bytes(["git", "archive", "HEAD"], cwd=project.root, capture_output=True, check=True).stdout
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder)


def _compare(first: Path, second: Path) -> None:
    ours = {path.name: digest(path) for path in artefacts(first)}
    theirs = {path.name: digest(path) for path in artefacts(second)}
    different = sorted({name for name, _ in ours.items() ^ theirs.items()})
    if different:
        raise Problem(
            f"two builds of one commit differ in {', '.join(different)}; find what depends on time, place or "
            "order "
            "(`diffoscope` shows it), for a wheel also what the sdist leaves out."
        )
