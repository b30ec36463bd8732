"""A small project that is released in the tests: the shape of ours, built and installed in a moment."""

from __future__ import annotations

import http.server
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from release.project import Project

PYPROJECT = """\
[build-system]
requires = ["hatchling>=1.26"]
build-backend = "hatchling.build"

[project]
name = "{name}"
dynamic = ["version"]
description = "A small project to release."
readme = "README.md"
license = "MIT"
license-files = ["LICENSE"]
requires-python = ">=3.10"
keywords = ["test"]
classifiers = ["Programming Language :: Python :: 3", "Typing :: Typed"]

[project.optional-dependencies]
dev = ["a-tool-that-is-not-installed"]

[project.urls]
Homepage = "https://example.org"
Source = "https://example.org/source"
Changelog = "https://example.org/changelog"
Issues = "https://example.org/issues"

[project.scripts]
{name} = "{package}:main"

[tool.hatch.version]
path = "src/{package}/__init__.py"

[tool.hatch.build.targets.wheel]
packages = ["src/{package}"]

[tool.hatch.build.targets.sdist]
include = ["/src", "/README.md", "/LICENSE", "/CHANGELOG.md"]

[tool.towncrier]
package = "{package}"
package_dir = "src"
directory = "changelog.d"
filename = "CHANGELOG.md"
start_string = "<!-- towncrier: new releases go below -->\\n"
title_format = "## {{version}} ({{project_date}})"
underlines = ["", "", ""]
issue_format = ""
"""
KINDS = "".join(
    f'\n[[tool.towncrier.type]]\ndirectory = "{kind}"\nname = "{kind.title()}"\nshowcontent = true\n'
    for kind in ("added", "changed", "fixed", "removed")
)
CHANGELOG = """\
# Changelog

<!-- towncrier: new releases go below -->

## 0.1.1

The first.
"""
PACKAGE = '''\
"""A small package."""

__version__ = "0.1.1"


def main() -> int:
    print('{"findings": []}')
    return 0
'''


def needs(*distributions: str) -> None:
    """Skip a module whose tools are not installed; importing them to see would run their code in ours."""
    for name in distributions:
        try:
            version(name)
        except PackageNotFoundError:
            pytest.skip(f"{name} is not installed", allow_module_level=True)


def tiny(folder: Path, name: str = "tiny-monitor") -> Project:
    """A checkout of the small project: version 0.1.1 released, one feature waiting for 0.2.0."""
    package = name.replace("-", "_")
    files = {
        "pyproject.toml": PYPROJECT.format(name=name, package=package) + KINDS,
        "README.md": "# Tiny\n\nSmall.\n",
        "LICENSE": "MIT\n",
        "CHANGELOG.md": CHANGELOG,
        "changelog.d/README.md": "One file for each change.\n",
        "changelog.d/+size.added.md": "It is small. Before, it was not there.\n",
        f"src/{package}/__init__.py": PACKAGE,
        f"src/{package}/py.typed": "",
        f"src/{package}/tables.sql": "CREATE TABLE t (x);\n",
        ".gitignore": "dist/\n__pycache__/\n",
        "Makefile": "test lint docs:\n\t@echo fine\n",
    }
    for path, text in files.items():
        write(folder / path, text)
    for words in (
        ["init", "--quiet", "--initial-branch=main"],
        ["config", "user.name", "Test"],
        ["config", "user.email", "test@localhost"],
    ):
        subprocess.run(["git", *words], cwd=folder, check=True)
    project = Project(folder)
    commit(project)
    return project


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def commit(project: Project, message: str = "Change") -> Project:
    """Commit everything; returns the project as it reads now."""
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", message)
    return Project(project.root)


def readable_by_others(path: Path) -> None:
    path.chmod(stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP | stat.S_IROTH)


class WebPage(http.server.BaseHTTPRequestHandler):
    """The login page of a hotel: 200 and HTML, whatever is asked or sent."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b"<html><title>Welcome</title><body><a href='/login'>Log in</a></body></html>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_address[1]}/"
        finally:
            running.shutdown()
            thread.join()
