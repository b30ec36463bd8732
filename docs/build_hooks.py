"""What mkdocs does besides: pages made from files that lie outside of docs/, and links to them.

The documents at the root of the project, where code hosts look for them, and the examples become pages; links
between those and the documents in docs/ are turned accordingly. What marks the blocks
that the tests run or expect (`run`, `s3`, `printed`) is taken off before a page is rendered.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from edge_mlops_monitor.cli.application import application
from edge_mlops_monitor.drift import METHODS
from edge_mlops_monitor.registry import Registry
from edge_mlops_monitor.system import COLLECTORS
from edge_mlops_monitor.telemetry.sinks import SINKS

PROJECT = Path(__file__).resolve().parents[1]
ROOT_PAGES = {
    "CHANGELOG.md": "project/changelog.md",
    "changelog.d/README.md": "project/changelog-entries.md",
    "LICENSE": "project/license.md",
    "CODE_OF_CONDUCT.md": "project/code-of-conduct.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "README.md": "index.md",
}
TITLES = {"CHANGELOG.md": "Changes", "changelog.d/README.md": "Changelog entries", "LICENSE": "Licence"}
EXAMPLES = {
    f"examples/{path.name}": f"examples/{path.name}.md"
    for path in sorted((PROJECT / "examples").iterdir())
    if path.suffix in (".py", ".yaml")
}
PAGES = ROOT_PAGES | EXAMPLES  # path in the project -> page
SOURCES = {page: source for source, page in PAGES.items() if source != "README.md"}

SECTIONS = {"guides": "Guides", "concepts": "Concepts"}  # of new documents, by their folder
PARTS = "<!-- parts -->"  # in place of which a page lists what its registry holds
COSTS = "<!-- costs -->"  # in place of which stands what `make bench` wrote into README.md
HELP = "<!-- help -->"  # in place of which stands what `--help` prints of each command
PROTOCOL = ("compare", "update", "update_many", "drift_detected", "warning_detected", "put", "check", "close")
REGISTRIES: dict[str, Registry] = {
    "reference/drift.md": METHODS,
    "reference/system.md": COLLECTORS,
    "reference/sinks.md": SINKS,
}

LINK = re.compile(r"(?<=\]\()([^)\s#]+)(#[^)\s]*)?(?=\))")
FENCE_MARK = re.compile(r"^(\s*```\w+) (?:run|s3|printed)\b.*$", re.MULTILINE)
FONT_FACE = re.compile(r"@font-face\s*\{.*?\}", re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put documents that the navigation in mkdocs.yml does not name at the end of a section."""
    nav: list[Any] = config.nav or []
    named = set(re.findall(r"'([^']+\.md)'", repr(nav)))
    sections = {name: pages for part in nav for name, pages in part.items()}
    for path in sorted((PROJECT / "docs").rglob("*.md")):
        page = path.relative_to(PROJECT / "docs").as_posix()
        if page not in named and not page.startswith("decisions/"):
            sections[SECTIONS.get(dirname(page), "Reference")].append(page)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from files elsewhere."""
    for page, source in SOURCES.items():
        files.append(File.generated(config, page, content=as_page(source)))
    return files


def as_page(source: str) -> str:
    """A file of the project as Markdown: programs and the like become one block."""
    text = (PROJECT / source).read_text(encoding="utf-8")
    if source.endswith(".md"):
        return text if text.startswith("# ") else f"# {TITLES[source]}\n\n{text}"
    language = {".py": "python", ".yaml": "yaml"}.get(Path(source).suffix, "text")
    return f"# {TITLES.get(source, source)}\n\n```{language}\n{text}```\n"


def on_page_markdown(markdown: str, page: Any, **more: Any) -> str:
    """Turn links that lead out of docs/, and take off the marks for the tests."""
    uri = page.file.src_uri
    source = SOURCES.get(uri, f"docs/{uri}")  # where the text lies in the project
    if uri in REGISTRIES:
        markdown = markdown.replace(PARTS, "\n".join(described(REGISTRIES[uri])))
    markdown = markdown.replace(COSTS, costs() if COSTS in markdown else "")
    markdown = markdown.replace(HELP, "\n".join(helps()) if HELP in markdown else "")
    markdown = FENCE_MARK.sub(r"\1", markdown)
    return LINK.sub(lambda found: turned(found[1], source, uri) + (found[2] or ""), markdown)


def costs() -> str:
    """What the benchmarks said of us, with their date."""
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    found = readme.partition("<!-- costs:begin -->")[2].partition("<!-- costs:end -->")[0]
    return found.replace("](docs/", "](").replace("[docs/", "[")


def helps() -> Iterator[str]:
    """What `--help` prints of each command, as one block each."""
    yield "## What `--help` prints\n"
    for command, context in every_command(
        application, click.Context(application, info_name="edge-mlops-monitor")
    ):
        yield f"### `{context.command_path} --help`\n\n```text\n{command.get_help(context)}\n```\n"


def every_command(
    command: click.Command, context: click.Context
) -> Iterator[tuple[click.Command, click.Context]]:
    """A command and those below it."""
    yield command, context
    for name in command.list_commands(context) if isinstance(command, click.Group) else ():
        if below := command.get_command(context, name):  # type: ignore[attr-defined]
            yield from every_command(below, click.Context(below, parent=context, info_name=name))


def described(registry: Registry) -> Iterator[str]:
    """For each name the directive by which mkdocstrings describes its class."""
    for name in registry:
        cls = registry[name]
        yield f"### `{name}`\n\n::: {cls.__module__}.{cls.__qualname__}"
        yield f"    options: {{ heading_level: 4, members: [{', '.join(PROTOCOL)}] }}\n"


def turned(target: str, source: str, page: str) -> str:
    """A link written for the project's tree as one for the site; others stay as they are.

    >>> turned("docs/start.md", "CONTRIBUTING.md", "project/contributing.md")
    '../start.md'
    >>> turned("../CONTRIBUTING.md", "docs/architecture.md", "architecture.md")
    'project/contributing.md'
    """
    if re.match(r"[a-z]+:", target):
        return target
    meant = normpath(join(dirname(source), target))
    there = PAGES.get(meant) or (meant.removeprefix("docs/") if meant.startswith("docs/") else "")
    return relpath(there, dirname(page) or ".") if there else target


def on_post_build(config: MkDocsConfig) -> None:
    """Take the fonts of another site out of the pictures; the reader's own fixed-width font serves."""
    for folder, _, names in os.walk(config.site_dir):
        for path in (Path(folder, name) for name in names if name.endswith(".svg")):
            path.write_text(FONT_FACE.sub("", path.read_text(encoding="utf-8")), encoding="utf-8")
