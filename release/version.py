"""Which version may come next.

The one source of the version is `__version__` in the package. Semantic versioning: a fix raises the patch, a
feature the minor, a break of what the documents promise the major; below 1.0.0 a break raises the minor.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

from release.problem import Problem
from release.project import Project

LEVELS = {"fixed": "patch", "added": "minor", "changed": "minor", "removed": "major"}  # by kind of fragment
ORDER = ("patch", "minor", "major")
SOURCE = re.compile(r'^__version__ = "([^"]*)"$', re.MULTILINE)


class Version(NamedTuple):
    """x.y.z, and nothing else: what is not ready is not released."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


def parse(text: str) -> Version:
    """Read x.y.z.

    >>> parse("0.2.0") > parse("0.1.12")
    True
    """
    match = re.fullmatch(r"(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})", text)
    if match is None:
        raise Problem(f"{text!r} is not a version; give three numbers, such as VERSION=0.2.0.")
    return Version(*map(int, match.groups()))


def is_version(text: str) -> bool:
    """Whether `parse` takes it."""
    try:
        parse(text)
    except Problem:
        return False
    return True


def known(texts: Iterable[str]) -> list[Version]:
    """Those that are x.y.z, lowest first; an index may hold others, which do not count."""
    return sorted(parse(text) for text in texts if re.fullmatch(r"\d{1,6}\.\d{1,6}\.\d{1,6}", text))


def level_of(kinds: Collection[str]) -> str:
    """The largest change among kinds of fragments: patch, minor or major."""
    return max((LEVELS[kind] for kind in kinds), key=ORDER.index)


def demanded(previous: Version, kinds: Collection[str]) -> str:
    """What the next number must raise; below 1.0.0 a break raises the minor."""
    level = level_of(kinds)
    return "minor" if level == "major" and previous.major == 0 else level


def raised(previous: Version, level: str) -> Version:
    """The next version at that level.

    >>> str(raised(parse("0.1.1"), "minor"))
    '0.2.0'
    """
    if level == "major":
        return Version(previous.major + 1, 0, 0)
    if level == "minor":
        return Version(previous.major, previous.minor + 1, 0)
    return Version(previous.major, previous.minor, previous.patch + 1)


def following(released: Collection[str], kinds: Collection[str]) -> Version:
    """The version that the pending changes call for."""
    previous = (known(released) or [Version(0, 0, 0)])[-1]
    return raised(previous, demanded(previous, kinds))


def check(wanted: Version, released: Collection[str], kinds: Collection[str]) -> None:
    """Refuse a version that exists, is not higher, or does not say what has changed."""
    if str(wanted) in released:
        raise Problem(
            f"{wanted} is released already and can never be replaced; take {following(released, kinds)}."
        )
    previous = (known(released) or [Version(0, 0, 0)])[-1]
    if wanted <= previous:
        raise Problem(f"{wanted} is not higher than {previous}; take {following(released, kinds)}.")
    level = demanded(previous, kinds)
    lowest = raised(previous, level)
    if wanted == (1, 0, 0) or (_raises(previous, wanted) == level and _one_step(previous, wanted, level)):
        return
    raise Problem(
        f"{wanted} after {previous} does not match changelog.d ({', '.join(sorted(kinds))}), which calls for "
        "a "
        f"{level} version; take {lowest}."
    )


def _raises(previous: Version, wanted: Version) -> str:
    if wanted.major != previous.major:
        return "major"
    return "minor" if wanted.minor != previous.minor else "patch"


def _one_step(previous: Version, wanted: Version, level: str) -> bool:
    """One up at the level that changed; below it anything goes, for a try may have used a number up."""
    if level == "major":
        return wanted.major == previous.major + 1
    return level == "patch" or wanted.minor == previous.minor + 1


def read(project: Project) -> str:
    """The version that the source says."""
    match = SOURCE.search(project.version_file.read_text())
    if match is None:
        raise Problem(f'{project.version_file.name} has no line `__version__ = "x.y.z"`; put it back.')
    return match[1]


def write(project: Project, wanted: Version) -> None:
    """Set the one source of the version."""
    read(project)
    text = project.version_file.read_text()
    project.version_file.write_text(SOURCE.sub(f'__version__ = "{wanted}"', text, count=1))
