"""What a distribution must hold, what it must not, and whether its metadata is complete."""

from __future__ import annotations

import fnmatch
import re
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path, PurePosixPath

from release.problem import Problem
from release.project import Project, last_line, tool

# Beside every file of the package that git holds (code, `py.typed`, templates, static files, SQL):
OF_THE_WHEEL = ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
OF_THE_SDIST = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "PKG-INFO")
MARKERS = ("__init__.py", "py.typed")
FORBIDDEN = ("*.pyc", "*.pyo", "*.db", "*.db-journal", "*.log", ".*", "*.env", "*.pem", "*.key")
FORBIDDEN_FOLDERS = (
    "tests",
    "test",
    "__pycache__",
    ".git",
    ".venv",
    ".pytest_cache",
    ".hypothesis",
    "benchmarks",
)
URLS = ("Homepage", "Source", "Changelog", "Issues")
LARGEST_WHEEL = 500_000  # bytes


def check(project: Project, wheel: Path, sdist: Path, version: str, *, largest: int = LARGEST_WHEEL) -> None:
    """Both distributions against the list, the metadata, the size, and what twine says of the README."""
    _check_names(f"the wheel {wheel.name}", wheel_names(wheel), _of_the_wheel(project, version))
    _check_names(f"the sdist {sdist.name}", sdist_names(sdist), _of_the_sdist(project))
    check_metadata(project, metadata(wheel), version)
    _check_links(metadata(wheel))
    if wheel.stat().st_size > largest:
        raise Problem(
            f"{wheel.name} has {wheel.stat().st_size} bytes, {largest} at most are allowed; take out "
            "what users "
            "do not need."
        )
    check_readme(project, wheel, sdist)


def check_readme(project: Project, wheel: Path, sdist: Path) -> None:
    """Whether an index can show the README."""
    done = tool("twine", "check", "--strict", wheel, sdist, cwd=project.root, env={"NO_COLOR": "1"})
    if done.returncode:
        raise Problem(
            f"twine check --strict refuses the distribution ({last_line(done)}); correct README.md."
        )


def links(message: Message) -> list[str]:
    """Where the links and pictures of the README lead."""
    return re.findall(r"\]\(([^)\s]+)", str(message.get_payload()))


def _check_links(message: Message) -> None:
    dead = [target for target in links(message) if not re.match(r"https?:|mailto:|#", target)]
    if dead:
        raise Problem(
            f"the README of the distribution leads to {dead[0]}, which is not beside it on an index page; "
            "let [tool.hatch.metadata.hooks.fancy-pypi-readme] in pyproject.toml make it absolute."
        )


def wheel_names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def sdist_names(sdist: Path) -> set[str]:
    """Names below the one folder that an sdist has."""
    with tarfile.open(sdist) as archive:
        return {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def check_metadata(project: Project, message: Message, version: str) -> None:
    """Name, version, README, licence, Pythons, URLs, classifiers and extras, as pyproject.toml has them."""
    settings = project.settings["project"]
    urls = {entry.split(",")[0] for entry in message.get_all("Project-URL", [])}
    classifiers = message.get_all("Classifier", [])
    lacking = [
        *(["Name"] if message["Name"] != project.name else []),
        *([f"Version {version}"] if message["Version"] != version else []),
        *(
            field
            for field in ("Summary", "License-Expression", "Requires-Python", "Keywords")
            if not message[field]
        ),
        *([] if message["Description-Content-Type"] == "text/markdown" else ["Description-Content-Type"]),
        *([] if str(message.get_payload()).strip() else ["the README"]),
        *(f"Project-URL {url}" for url in URLS if url not in urls),
        *(f"Classifier {line}" for line in settings["classifiers"] if line not in classifiers),
        *([] if "Typing :: Typed" in classifiers else ["Classifier Typing :: Typed"]),
        *(
            f"extra {extra}"
            for extra in extras(project, for_users=False)
            if extra not in message.get_all("Provides-Extra", [])
        ),
    ]
    if lacking:
        raise Problem(
            f"the metadata of the distribution lacks {', '.join(lacking)}; complete pyproject.toml."
        )


def extras(project: Project, *, for_users: bool = True) -> list[str]:
    """The extras; those of the developers (`test`, `dev`, `docs`) are not what a user installs."""
    names = project.settings["project"].get("optional-dependencies", {})
    return [name for name in names if not for_users or name not in ("test", "dev", "docs")]


def _of_the_wheel(project: Project, version: str) -> set[str]:
    info = f"{project.package}-{version}.dist-info"
    return {path.removeprefix("src/") for path in _sources(project)} | {
        f"{info}/{name}" for name in OF_THE_WHEEL
    }


def _of_the_sdist(project: Project) -> set[str]:
    return {*_sources(project), *OF_THE_SDIST}


def _sources(project: Project) -> list[str]:
    return project.git("ls-tree", "-r", "--name-only", "HEAD", f"src/{project.package}").splitlines()


def _check_names(what: str, held: set[str], listed: set[str]) -> None:
    bad = sorted(name for name in held if forbidden(name))
    if bad:
        raise Problem(
            f"{what} holds {', '.join(bad[:3])}, which no user needs; exclude it in pyproject.toml."
        )
    missing = sorted(listed - held)
    missing += [name for name in MARKERS if not any(re.search(rf"(^|/){name}$", path) for path in held)]
    if missing:
        raise Problem(
            f"{what} lacks {', '.join(missing[:3])}; include it in pyproject.toml ([tool.hatch.build])."
        )
    more = sorted(held - listed - {".gitignore"})
    if more:
        raise Problem(
            f"{what} holds {', '.join(more[:3])}, which git does not; exclude it in pyproject.toml."
        )


def forbidden(name: str) -> bool:
    """Tests, caches, databases, secrets.

    >>> forbidden("pkg/__pycache__/a.cpython-311.pyc"), forbidden("pkg/drift/ks_test.py")
    (True, False)
    """
    path = PurePosixPath(name)
    if name == ".gitignore":  # hatchling puts it into every sdist, to know what to leave out of the wheel
        return False
    if any(part in FORBIDDEN_FOLDERS for part in path.parts[:-1]):
        return True
    return any(fnmatch.fnmatch(path.name, pattern) for pattern in FORBIDDEN)
