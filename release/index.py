"""What a package index holds: the files of a project and their digests, by the simple API (HTML or JSON)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urldefrag, urljoin
from urllib.request import Request, urlopen

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from release import pypirc
from release.build import digest
from release.problem import Problem

ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
WELL_KNOWN = {"pypi": "https://pypi.org/simple/", "testpypi": "https://test.pypi.org/simple/"}
SETTINGS = {"pypi": "RELEASE_INDEX_URL", "testpypi": "RELEASE_TEST_INDEX_URL"}


@dataclass(frozen=True)
class Index:
    """A repository as twine and .pypirc name it, and the address that pip installs from."""

    repository: str
    simple_url: str
    pypirc: Path = field(default_factory=pypirc.path)


class File(NamedTuple):
    """A file that an index holds; `digest` is "sha256=..." or empty."""

    url: str
    digest: str


def from_environment(repository: str) -> Index:
    """The index of that name: the public one, unless RELEASE_INDEX_URL or RELEASE_TEST_INDEX_URL is set."""
    url = os.environ.get(SETTINGS[repository]) or WELL_KNOWN[repository]
    return Index(repository, url.rstrip("/") + "/")


def files(index: Index, project: str) -> dict[str, File]:
    """The project's files by name; none where the index does not know the project."""
    url = urljoin(index.simple_url, f"{canonicalize_name(project)}/")
    answer = _get(url, index)
    if answer is None:
        return {}
    kind, base, body = answer
    links = _from_json(body, url) if kind.endswith("json") else _from_html(body, url)
    found = {name: File(urljoin(base, link), checksum) for name, link, checksum in links or []}
    ours = {name: file for name, file in found.items() if _version(name, project)}
    if links is None or (links and not ours):
        raise Problem(
            f"{url} answers with a web page and not with a list of files; set {SETTINGS[index.repository]} "
            "to the "
            "address that pip takes as --index-url, which mostly ends in /simple/."
        )
    return ours


def versions(files_held: Iterable[str], project: str) -> set[str]:
    """The versions that these files belong to."""
    return {version for name in files_held if (version := _version(name, project))}


def holds(file: File, path: Path, index: Index) -> bool:
    """Whether the index's file has the bytes of ours."""
    algorithm, _, value = file.digest.partition("=")
    if value:
        return digest(path, algorithm) == value
    answer = _get(file.url, index)
    return answer is not None and answer[2] == path.read_bytes()


def _version(filename: str, project: str) -> str:
    try:
        name, version = (
            parse_wheel_filename(filename)[:2]
            if filename.endswith(".whl")
            else parse_sdist_filename(filename)
        )
    except (InvalidWheelFilename, InvalidSdistFilename):
        return ""
    return str(version) if name == canonicalize_name(project) else ""


def _get(url: str, index: Index) -> tuple[str, str, bytes] | None:
    """Content type, final address and body; None where there is no such page."""
    try:
        with urlopen(Request(url, headers={"Accept": ACCEPT}), timeout=30) as response:
            return response.headers.get_content_type(), response.url, response.read()
    except HTTPError as error:
        if error.code == 404:
            return None
        raise Problem(
            f"{url} answers {error.code} {error.reason}; look whether the index is in order and whether "
            f"{SETTINGS[index.repository]} is its address, then run the same command again."
        ) from None
    except (URLError, OSError, ValueError) as error:
        raise Problem(
            f"{index.repository} cannot be reached at {index.simple_url} "
            f"({getattr(error, 'reason', error)}); look at "
            f"the network and at {SETTINGS[index.repository]}, then run the same command again."
        ) from None


def _from_json(body: bytes, url: str) -> list[tuple[str, str, str]] | None:
    try:
        entries = json.loads(body)["files"]
        return [(e["filename"], e["url"], _first(e.get("hashes", {}))) for e in entries]
    except (ValueError, KeyError, TypeError):
        raise Problem(f"{url} answers with JSON that no package index gives; correct its address.") from None


def _first(hashes: dict[str, str]) -> str:
    return next((f"{name}={hashes[name]}" for name in ("sha256", *hashes) if name in hashes), "")


def _from_html(body: bytes, url: str) -> list[tuple[str, str, str]] | None:
    """The links of a page of a package index; None where it is some other page."""
    page = _Page()
    page.feed(body.decode(errors="replace"))
    links = [(text, *urldefrag(link)) for link, text in page.links]
    return links if links or page.is_index else None


class _Page(HTMLParser):
    """The links of a page, and whether an empty one is that of a package index."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.is_index = False
        self._link = ""
        self._title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self._title = tag == "title"
        self._link = attributes.get("href") or "" if tag == "a" else ""
        self.is_index |= tag == "meta" and attributes.get("name") == "pypi:repository-version"

    def handle_data(self, data: str) -> None:
        if self._link and data.strip():
            self.links.append((self._link, data.strip()))
            self._link = ""
        self.is_index |= self._title and "links for" in data.lower()
