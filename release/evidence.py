"""What lies beside a release so that users can verify it: a list of parts (SBOM) and checksums."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from release import pythons
from release.build import digest
from release.problem import Problem
from release.project import Project, last_line, tool
from release.pythons import Environment, require

CHECKSUMS = "SHA256SUMS"
SBOM = "sbom.cdx.json"


def checksums(folder: Path, artefacts: Sequence[Path]) -> Path:
    """Write SHA256SUMS, as `sha256sum --check` reads it."""
    path = folder / CHECKSUMS
    path.write_text("".join(f"{digest(file)}  {file.name}\n" for file in artefacts))
    return path


def sbom(project: Project, wheel: Path, folder: Path) -> Path:
    """Write the CycloneDX list of what an installation of the core with every extra for users consists of."""
    from release.contents import extras

    path = folder / SBOM
    with tempfile.TemporaryDirectory() as scratch:
        environment = Environment(Path(scratch) / "venv", pythons.found()[pythons.default()])
        wanted = f"{project.name}[{','.join(extras(project))}] @ {wheel.resolve().as_uri()}"
        require(
            environment.pip("install", "--quiet", wanted), "installing for the SBOM", "look at the network"
        )
        options: list[str | Path] = [
            "--output-reproducible",
            "--of",
            "JSON",
            "-o",
            path,
            "--pyproject",
            "pyproject.toml",
        ]
        epoch = {"SOURCE_DATE_EPOCH": project.git("log", "-1", "--format=%ct")}
        done = tool("cyclonedx_py", "environment", *options, environment.python, cwd=project.root, env=epoch)
    if done.returncode:
        raise Problem(f"the SBOM could not be written ({last_line(done)}); run `pip install -e '.[dev]'`.")
    listed = {canonicalize_name(part["name"]) for part in json.loads(path.read_text()).get("components", [])}
    lacking = sorted(_needed(project) - listed)
    if lacking:
        raise Problem(
            f"the SBOM {path.name} lacks {', '.join(lacking)}; look at the cyclonedx-py that wrote it."
        )
    return path


def _needed(project: Project) -> set[str]:
    """What the core depends on, on this machine."""
    needed = map(Requirement, project.settings["project"].get("dependencies", []))
    return {canonicalize_name(each.name) for each in needed if each.marker is None or each.marker.evaluate()}
