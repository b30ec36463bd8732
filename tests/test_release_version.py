"""Which version may be released next, and how it gets into the source and the changelog."""

from __future__ import annotations

from pathlib import Path

import pytest
from release import changelog, version
from release.problem import Problem
from release.project import Project

from release_tiny import needs, tiny, write

needs("packaging", "towncrier")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return tiny(tmp_path)


@pytest.mark.parametrize(
    ("previous", "kinds", "wanted"),
    [
        ("0.1.1", {"fixed"}, "0.1.2"),
        ("0.1.1", {"fixed", "added"}, "0.2.0"),
        ("0.1.1", {"changed"}, "0.2.0"),
        ("0.1.1", {"removed"}, "0.2.0"),
        ("1.4.2", {"removed", "fixed"}, "2.0.0"),
        ("1.4.2", {"added"}, "1.5.0"),
        ("1.9.9", {"fixed"}, "1.9.10"),
    ],
)
def test_the_fragments_say_what_comes_next(previous: str, kinds: set[str], wanted: str) -> None:
    assert str(version.following({previous, "0.0.9"}, kinds)) == wanted
    version.check(version.parse(wanted), {previous}, kinds)


@pytest.mark.parametrize(
    ("wanted", "kinds", "why"),
    [
        ("0.2.0", {"added"}, "0.2.0 is released already and can never be replaced; take 0.3.0."),
        ("0.1.9", {"fixed"}, "0.1.9 is not higher than 0.2.0; take 0.2.1."),
        ("0.2.1", {"added"}, "calls for a minor version; take 0.3.0."),
        ("0.3.0", {"fixed"}, "calls for a patch version; take 0.2.1."),
        ("0.5.0", {"added"}, "calls for a minor version; take 0.3.0."),
        ("2.0.0", {"removed"}, "calls for a minor version; take 0.3.0."),
    ],
)
def test_any_other_version_is_refused_with_the_right_one(wanted: str, kinds: set[str], why: str) -> None:
    with pytest.raises(Problem) as caught:
        version.check(version.parse(wanted), {"0.1.1", "0.2.0"}, kinds)
    assert why in str(caught.value)


def test_a_number_used_up_by_a_try_is_skipped_and_1_0_0_is_always_open() -> None:
    version.check(version.parse("0.3.1"), {"0.2.0"}, {"added"})
    version.check(version.parse("1.0.0"), {"0.2.0"}, {"fixed"})


@pytest.mark.parametrize("text", ["", "1.2", "v1.2.3", "1.2.3rc1", "1.2.03", "1.2.3 ", "١.٢.٣", "$(id)"])
def test_what_is_no_version_is_named(text: str) -> None:
    with pytest.raises(Problem, match="is not a version; give three numbers"):
        version.parse(text)


def test_the_version_is_written_where_it_is_read(project: Project) -> None:
    assert version.read(project) == "0.1.1"
    version.write(project, version.parse("0.2.0"))
    assert version.read(project) == "0.2.0"
    assert project.git("diff", "--stat").count("|") == 1


def test_a_source_without_a_version_is_named(project: Project) -> None:
    write(project.version_file, "VERSION = 1\n")
    with pytest.raises(Problem, match=r'has no line `__version__ = "x.y.z"`'):
        version.write(project, version.parse("0.2.0"))


def test_the_changelog_takes_in_the_fragments(project: Project) -> None:
    assert changelog.kinds(project) == ["added"]
    changelog.assemble(project, version.parse("0.2.0"))
    assert "It is small." in changelog.section(project, version.parse("0.2.0"))
    assert "The first." not in changelog.section(project, version.parse("0.2.0"))
    assert changelog.headings(project) == ["0.2.0", "0.1.1"]
    with pytest.raises(Problem, match="holds no fragment, so there is nothing to release"):
        changelog.kinds(project)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("+new.feature.md", "New.\n", "is a fragment of an unknown kind; rename it to NAME.KIND.md"),
        ("notes.txt", "New.\n", "is a fragment of an unknown kind"),
        ("+new.added.md", " \n", "is empty; say in it what changed"),
    ],
)
def test_a_fragment_that_is_none_is_named(project: Project, name: str, text: str, why: str) -> None:
    write(project.root / "changelog.d" / name, text)
    with pytest.raises(Problem) as caught:
        changelog.kinds(project)
    assert f"changelog.d/{name}" in str(caught.value)
    assert why in str(caught.value)


def test_the_fragments_of_this_project_are_of_known_kinds(request: pytest.FixtureRequest) -> None:
    ours = Project(request.config.rootpath)
    pending = [path for path in (ours.root / "changelog.d").glob("*.md") if path.name != "README.md"]
    if pending:
        assert len(changelog.kinds(ours)) == len(pending)
    assert "0.1.1" in changelog.headings(ours)


def test_git_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"^git rev-parse failed \(.*\); put that right"):
        Project(tmp_path).commit()
