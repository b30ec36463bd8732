"""The pending changes: one fragment a change in changelog.d, assembled into CHANGELOG.md by towncrier."""

from __future__ import annotations

import re
from datetime import datetime, timezone

from release.problem import Problem
from release.project import Project, last_line, tool
from release.version import LEVELS, Version


def kinds(project: Project) -> list[str]:
    """The kind of each pending fragment; an unknown kind or none at all is a `Problem`."""
    settings = project.settings["tool"]["towncrier"]
    folder = project.root / str(settings["directory"])
    allowed = [entry["directory"] for entry in settings["type"]]
    found = []
    for path in sorted(folder.glob("*")):
        if path.name in ("README.md", ".gitignore", ".gitkeep"):
            continue
        match = re.fullmatch(r"[^.]+\.([a-z]+)(\.\d+)?\.md", path.name)
        if match is None or match[1] not in allowed or match[1] not in LEVELS:
            raise Problem(
                f"{folder.name}/{path.name} is a fragment of an unknown kind; rename it to NAME.KIND.md, "
                "where KIND "
                f"is one of {', '.join(allowed)}."
            )
        if not path.read_text().strip():
            raise Problem(
                f"{folder.name}/{path.name} is empty; say in it what changed and what was wrong before."
            )
        found.append(match[1])
    if not found:
        raise Problem(
            f"{folder.name} holds no fragment, so there is nothing to release; write what has changed."
        )
    return found


def headings(project: Project) -> list[str]:
    """The versions that the changelog knows."""
    text = (project.root / str(project.settings["tool"]["towncrier"]["filename"])).read_text()
    return re.findall(r"^## \[?v?(\d+\.\d+\.\d+)\b", text, re.MULTILINE)


def assemble(project: Project, version: Version) -> None:
    """Move the fragments into CHANGELOG.md under the version and today's date."""
    today = datetime.now(timezone.utc).date().isoformat()
    done = tool("towncrier", "build", "--yes", "--version", str(version), "--date", today, cwd=project.root)
    if done.returncode:
        raise Problem(
            f"towncrier could not assemble the changelog ({last_line(done)}); see changelog.d/README.md."
        )


def section(project: Project, version: Version) -> str:
    """What the changelog says about one version, in Markdown."""
    text = (project.root / str(project.settings["tool"]["towncrier"]["filename"])).read_text()
    match = re.search(
        rf"^## {re.escape(str(version))}\b.*?\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL
    )
    if match is None:
        raise Problem(f"CHANGELOG.md has no section {version}; run `python -m release bump {version}`.")
    return match[1].strip() + "\n"
