"""The whole release, rehearsed: on local indexes, in a clone, with the mishaps that releases meet.

Nothing outside a temporary folder is touched: neither the working tree nor its tags nor any real index.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from release import changelog, local_index, version
from release.index import SETTINGS
from release.local_index import LocalIndex, Login
from release.problem import Problem
from release.project import Project, install_editable, last_line, run
from release.steps import released


class Stage(NamedTuple):
    """A clone with a remote of its own, two indexes, and the settings with which it releases to them."""

    clone: Project
    settings: dict[str, str]
    test: LocalIndex
    production: LocalIndex

    def login(self, production_password: str = local_index.PASSWORD) -> None:
        """Write the .pypirc."""
        local_index.pypirc(
            Path(self.settings["RELEASE_PYPIRC"]),
            Login("testpypi", self.test.upload_url),
            Login("pypi", self.production.upload_url, password=production_password),
        )

    def release(self, version: str, say: Callable[[str], None], **more: str) -> tuple[int, str]:
        """`make release VERSION=...` in the clone, shown as it comes; exit status and all that it said."""
        command = ["make", "--no-print-directory", "release", f"VERSION={version}"]
        with subprocess.Popen(
            command,
            cwd=self.clone.root,
            env={**os.environ, **self.settings, **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            lines = []
            for line in process.stdout or ():
                lines.append(line)
                say(f"   {line.rstrip()}")
        return process.returncode, "".join(lines)


def rehearse(project: Project, say: Callable[[str], None]) -> None:
    """Release the next version in a clone, stop in the middle, go on, and then release the one after it."""
    started = time.monotonic()
    scratch = tempfile.TemporaryDirectory(prefix="release-check-")
    with scratch as folder, stage(project, Path(folder), say) as here:
        first = following(here.clone)
        _first_release(here, first, say)
        _second_release(here, str(version.raised(version.parse(first), "patch")), say)
    say(f"All of it works. ({(time.monotonic() - started) / 60:.1f} minutes)")


def _first_release(here: Stage, first: str, say: Callable[[str], None]) -> None:
    say(f"== make release VERSION={first}, with a wrong token for production")
    here.login(production_password="wrong")
    _refused(here, first, "does not let us upload", say)
    say(f"== make release VERSION={first}, continued with the right one")
    here.login()
    _succeeds(here, first, say)
    say(f"== make release VERSION={first}, once more from the beginning")
    shutil.rmtree(here.clone.root / ".release")
    _fragment(here.clone, "after-the-first")
    _refused(here, first, "released already", say)


def _second_release(here: Stage, second: str, say: Callable[[str], None]) -> None:
    say(f"== make release VERSION={second}, to which the first upgrades")
    _succeeds(here, second, say, RELEASE_REHEARSAL="brief")


def _refused(here: Stage, version_: str, why: str, say: Callable[[str], None]) -> None:
    """The release stops, says why and how to go on, and has made no tag."""
    tags = here.clone.git("tag", "--list")
    status, said = here.release(version_, say)
    if status == 0 or why not in said or "go on with: make release" not in said:
        raise Problem(
            f"the release of {version_} was to be refused with {why!r} and was not; correct release/."
        )
    if here.clone.git("tag", "--list") != tags:
        raise Problem(f"the refused release of {version_} left a tag; correct release/steps.py.")


def _succeeds(here: Stage, version_: str, say: Callable[[str], None], **more: str) -> None:
    """The release ends with an annotated tag; pushing what it says brings both to the remote."""
    if here.release(version_, say, **more)[0]:
        raise Problem(
            f"the rehearsed release of {version_} failed, for the reason above; correct it and commit."
        )
    if here.clone.git("cat-file", "-t", f"v{version_}") != "tag":
        raise Problem(f"v{version_} is not an annotated tag; correct release/steps.py.")
    here.clone.git("push", "--quiet", "origin", "main", f"v{version_}")


def following(clone: Project) -> str:
    """The version that the pending fragments call for; where there are none, one is made."""
    try:
        kinds = changelog.kinds(clone)
    except Problem:
        _fragment(clone, "rehearsal")
        kinds = changelog.kinds(clone)
    return str(version.following(released(clone, []), kinds))


def _fragment(clone: Project, name: str) -> None:
    path = clone.root / "changelog.d" / f"+{name}.fixed.md"
    path.write_text("A rehearsed correction. Before, there was nothing to correct.\n")
    clone.git("add", str(path))
    clone.git("commit", "--quiet", "-m", name)


@contextmanager
def stage(project: Project, folder: Path, say: Callable[[str], None]) -> Iterator[Stage]:
    """Set everything up in an empty folder, and take the indexes down in the end."""
    if changed := project.git("status", "--porcelain").splitlines():
        say(f"{len(changed)} uncommitted changes are not rehearsed, the last commit is")
    clone = clone_of(project, folder)
    borrow_environment(clone)
    with local_index.devpi(folder) as test, local_index.pypiserver(folder) as production:
        environment = settings(folder, test, production)
        if tested(project):
            environment["RELEASE_REHEARSAL"] = "tested"
        here = Stage(clone, environment, test, production)
        here.login()
        yield here


def clone_of(project: Project, folder: Path) -> Project:
    """A clone on branch main whose remote is a repository beside it."""
    clone, remote = folder / "clone", folder / "origin.git"
    project.git("clone", "--quiet", "--no-hardlinks", str(project.root), str(clone))
    cloned = Project(clone)
    cloned.git("switch", "--quiet", "--force-create", "main")
    # In the clone and not in the environment, where the tests of the rehearsed release would see it.
    cloned.git("config", "user.name", "Release rehearsal")
    cloned.git("config", "user.email", "rehearsal@localhost")
    cloned.git("init", "--quiet", "--bare", "--initial-branch=main", str(remote))
    cloned.git("remote", "set-url", "origin", str(remote))
    Project(remote).git("config", "receive.shallowUpdate", "true")  # the checkout may be a shallow clone
    cloned.git("push", "--quiet", "origin", "main")
    return cloned


def borrow_environment(clone: Project) -> None:
    """A .venv for the clone that has the clone's package and borrows everything else from ours."""
    import site

    venv = clone.root / ".venv"
    done = run([sys.executable, "-m", "venv", "--without-pip", venv], cwd=clone.root)
    if done.returncode:
        raise Problem(f"no virtual environment can be made ({last_line(done)}); install python3-venv.")
    packages = next(venv.glob("lib/python*/site-packages"))
    ours = [path for path in site.getsitepackages() if Path(path).is_dir()]
    # As plain folders: the .pth files in ours, which lead to the checkout, do not count.
    (packages / "borrowed.pth").write_text("\n".join(ours) + "\n")
    install_editable(clone, venv / "bin" / "python")
    borrow_commands(venv / "bin")
    for stamp in ("core", "dev", "docs"):
        (venv / f".stamp-{stamp}").touch()


def borrow_commands(folder: Path) -> None:
    """The commands of what is installed, each run by the Python of that folder."""
    from importlib.metadata import entry_points

    for command in entry_points(group="console_scripts"):
        script = folder / command.name
        if not script.exists():
            name = command.attr.partition(".")[0]
            script.write_text(
                f"#!{folder / 'python'}\nimport sys\nfrom {command.module} import {name}\n"
                f"sys.exit({command.attr}())\n"
            )
            script.chmod(0o755)


def settings(folder: Path, test: LocalIndex, production: LocalIndex) -> dict[str, str]:
    """What tells the release tool to use these indexes."""
    return {
        "RELEASE_PYPIRC": str(folder / ".pypirc"),
        SETTINGS["testpypi"]: test.simple_url,
        SETTINGS["pypi"]: production.simple_url,
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
    }


def tested(project: Project) -> bool:
    """Whether `make test` has passed for exactly this commit: the Makefile leaves a note."""
    note = project.root / ".venv" / ".tested"
    return note.is_file() and note.read_text().strip() == project.commit()
