"""Builds: clean, reproducible, complete, and nothing inside that no user needs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
from release import build, contents, evidence
from release.problem import Problem
from release.project import Project

from release_tiny import commit, needs, tiny, write

needs("build", "twine", "hatchling", "zopfli", "cyclonedx-bom")
pytestmark = pytest.mark.timeout(600)  # programs are started, which takes long on a busy machine


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return tiny(tmp_path / "checkout")


def made(project: Project) -> tuple[Path, Path]:
    wheel, sdist = build.build(project, project.root / "dist", isolated=False)
    return wheel, sdist


def checked(project: Project) -> None:
    contents.check(project, *made(project), "0.1.1")


def test_this_project_builds_twice_the_same_complete_and_small(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    root = request.config.rootpath
    if not (root / ".git").exists():
        pytest.skip("not a git checkout")
    ours = Project(root)
    wheel, sdist = build.build(ours, tmp_path / "dist", isolated=False)
    said = contents.metadata(wheel)["Version"]
    contents.check(ours, wheel, sdist, said)
    assert wheel.stat().st_size <= contents.LARGEST_WHEEL
    assert f"{ours.package}/py.typed" in contents.wheel_names(wheel)
    assert not [name for name in contents.sdist_names(sdist) if name.startswith("tests/")]
    links_lead_to_the_tagged_version(ours, contents.links(contents.metadata(wheel)), f"v{said}")


def links_lead_to_the_tagged_version(project: Project, links: list[str], tag: str) -> None:
    """Each leads to a file or folder that this commit, once it is tagged, holds; pictures as bytes."""
    home = project.settings["project"]["urls"]["Source"]
    page, picture = (
        f"{home}/blob/{tag}/",
        f"{home.replace('//github.com', '//raw.githubusercontent.com')}/{tag}/",
    )
    ours = [link for link in links if link.startswith((page, picture))]
    assert len(ours) > 10
    assert [link for link in links if link.startswith(home) and link not in ours] == []
    for link in ours:
        path = link.removeprefix(page).removeprefix(picture).partition("#")[0]
        assert project.git("ls-tree", "--name-only", "HEAD", path.rstrip("/")), link
        assert link.startswith(picture) == path.endswith(".svg"), link


def test_what_lies_around_gets_into_no_build(project: Project) -> None:
    wheel, sdist = made(project)
    before = build.digest(wheel), build.digest(sdist)
    package = project.root / "src" / project.package
    write(package / "forgotten.py", "secret = 1\n")
    write(package / "__init__.py", '__version__ = "9.9.9"\n')
    write(project.root / "dist" / "old-0.0.1-py3-none-any.whl", "")
    assert tuple(map(build.digest, made(project))) == before
    assert len(list((project.root / "dist").iterdir())) == 2


HOOK = """
import pathlib, time
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

class Stamp(BuildHookInterface):
    def initialize(self, version, build_data):
        path = pathlib.Path(self.root, "src", "tiny_monitor", "built.txt")
        path.write_text(str(time.time_ns()))
"""


def test_a_build_that_depends_on_the_time_is_named(project: Project) -> None:
    write(project.root / "hatch_build.py", HOOK)
    with (project.root / "pyproject.toml").open("a") as file:
        file.write("\n[tool.hatch.build.hooks.custom]\n")
    with pytest.raises(Problem, match=r"two builds of one commit differ in tiny_monitor-0\.1\.1"):
        made(commit(project))


def test_a_build_that_fails_says_why(project: Project) -> None:
    write(project.root / "src" / project.package / "__init__.py", "version = 1\n")
    with pytest.raises(Problem, match=r"the build failed \(.+\); `python -m build` shows all of its output"):
        made(commit(project))


def pyproject(project: Project, old: str, new: str) -> Project:
    path = project.root / "pyproject.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    return commit(project)


def test_a_file_missing_from_the_distribution_is_named(project: Project) -> None:
    wheel = "[tool.hatch.build.targets.wheel]"
    changed = pyproject(project, wheel, f"[tool.hatch.build]\nexclude = ['*.sql']\n\n{wheel}")
    with pytest.raises(
        Problem, match=r"the wheel .* lacks tiny_monitor/tables\.sql; include it in pyproject"
    ):
        checked(changed)


def test_a_wheel_that_the_sdist_cannot_build_is_named(project: Project) -> None:
    changed = pyproject(project, 'include = ["/src", ', 'exclude = ["*.sql"]\ninclude = ["/src", ')
    with pytest.raises(
        Problem, match=r"differ in tiny_monitor-0\.1\.1-py3-none-any\.whl; .*the sdist leaves out"
    ):
        checked(changed)


def test_a_package_without_its_typing_marker_is_named(project: Project) -> None:
    (project.root / "src" / project.package / "py.typed").unlink()
    with pytest.raises(Problem, match=r"lacks py\.typed"):
        checked(commit(project))


@pytest.mark.parametrize("name", ["tests/test_x.py", "cache.db"])
def test_what_no_user_needs_is_named(project: Project, name: str) -> None:
    write(project.root / "src" / project.package / name, "x = 1\n")
    with pytest.raises(Problem, match=r"which no user needs; exclude it in pyproject\.toml"):
        checked(commit(project))


def test_what_git_does_not_hold_is_named(finished: tuple[Project, Path, Path], tmp_path: Path) -> None:
    project, built, sdist = finished
    wheel = tmp_path / built.name
    wheel.write_bytes(built.read_bytes())
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("tiny_monitor/more.py", "x = 1\n")
    with pytest.raises(Problem, match=r"holds tiny_monitor/more\.py, which git does not"):
        contents.check(project, wheel, sdist, "0.1.1")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Path, Path]:
    """One build, for the tests that only look."""
    project = tiny(tmp_path_factory.mktemp("finished"))
    return (project, *made(project))


@pytest.mark.parametrize(
    ("field", "why"),
    [
        ("Project-URL: Changelog", "lacks Project-URL Changelog; complete pyproject.toml"),
        ("Keywords", "lacks Keywords"),
        ("Classifier: Typing", "lacks Classifier Typing :: Typed"),
        ("Description-Content-Type", "lacks Description-Content-Type"),
        ("Summary", "lacks Summary"),
        ("License-Expression", "lacks License-Expression"),
        ("Provides-Extra", "lacks extra dev"),
        ("Version", "lacks Version 0.1.1"),
    ],
)
def test_incomplete_metadata_are_named(finished: tuple[Project, Path, Path], field: str, why: str) -> None:
    project, wheel, _ = finished
    complete = contents.metadata(wheel).as_string()
    contents.check_metadata(project, message_from_string(complete), "0.1.1")
    text = re.sub(rf"^{field}.*\n", "", complete, flags=re.MULTILINE)
    with pytest.raises(Problem) as caught:
        contents.check_metadata(project, message_from_string(text), "0.1.1")
    assert why in str(caught.value)


def test_a_readme_that_an_index_cannot_show_is_named(
    finished: tuple[Project, Path, Path], tmp_path: Path
) -> None:
    project, wheel, sdist = finished
    broken = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(broken, "w") as target:
        for name in source.namelist():
            text = source.read(name).decode()
            if name.endswith("METADATA"):
                text = text.replace("text/markdown", "text/x-rst").replace(
                    "# Tiny", "Tiny\n==\n\n.. no:: such"
                )
            target.writestr(name, text)
    with pytest.raises(Problem, match=r"twine check --strict refuses the distribution"):
        contents.check_readme(project, broken, sdist)


@pytest.mark.parametrize("link", ["[more](docs/more.md)", "![It](docs/it.svg)"])
def test_a_readme_with_a_link_that_is_dead_on_an_index_page_is_named(project: Project, link: str) -> None:
    write(project.root / "README.md", f"# Tiny\n\n[Home](https://example.org) {link}\n")
    with pytest.raises(
        Problem, match=r"leads to docs/\w+\.\w+, which is not beside it on an index page; let"
    ):
        checked(commit(project))


def test_a_wheel_that_is_too_large_is_named(finished: tuple[Project, Path, Path]) -> None:
    project, wheel, sdist = finished
    with pytest.raises(Problem, match=r"has \d+ bytes, 100 at most are allowed"):
        contents.check(project, wheel, sdist, "0.1.1", largest=100)


def test_a_missing_compressor_is_named_before_anything_is_built(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project.root / "dist" / "old-0.0.1-py3-none-any.whl", "")
    monkeypatch.setitem(sys.modules, "zopfli.zlib", None)
    with pytest.raises(Problem, match=r"^zopfli is not installed; run `pip install -e '\.\[dev\]'`\.$"):
        made(project)
    assert (project.root / "dist" / "old-0.0.1-py3-none-any.whl").exists()


def test_checksums_and_the_list_of_parts_can_be_checked(finished: tuple[Project, Path, Path]) -> None:
    project, wheel, sdist = finished
    bill = evidence.sbom(project, wheel, project.root / "dist")
    assert json.loads(bill.read_text())["metadata"]["component"]["name"] == "tiny-monitor"
    sums = evidence.checksums(project.root / "dist", [wheel, sdist, bill])
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", sums.name], cwd=sums.parent, capture_output=True
    )
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 3


def test_dist_without_a_build_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        Problem, match=r"does not hold one wheel and one sdist; run `python -m release build`"
    ):
        build.artefacts(tmp_path)
