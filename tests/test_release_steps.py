"""The steps of a release: in order, stopped by the first failure, continued where they stopped."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from release import __main__, index, local_index, steps, verify, version
from release.local_index import Login
from release.problem import Problem
from release.project import Project

from release_tiny import WebPage, commit, needs, serving, tiny, write

needs("build", "twine", "hatchling", "zopfli", "towncrier", "cyclonedx-bom", "devpi-server", "pypiserver")
pytestmark = pytest.mark.timeout(600)  # programs are started, which takes long on a busy machine

Command = Callable[..., tuple[int, str, str]]


class Scene:
    """A checkout, two indexes, and the command."""

    def __init__(self, project: Project, command: Command, login: Callable[[str], None]) -> None:
        self.project = project
        self.command = command
        self.login = login

    def files(self, repository: str) -> set[str]:
        return set(index.files(index.from_environment(repository), self.project.name))

    def tags(self) -> list[str]:
        return self.project.git("tag", "--list").splitlines()


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`python -m release` in the checkout; exit status, standard output and standard error."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path / "checkout")
        status = __main__.main([*words])
        return (status, *capsys.readouterr())

    return run


@pytest.fixture
def scene(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.setenv("RELEASE_REHEARSAL", "brief")
    monkeypatch.setenv("RELEASE_PYPIRC", str(tmp_path / ".pypirc"))
    (tmp_path / "other").mkdir()
    with local_index.pypiserver(tmp_path) as test, local_index.pypiserver(tmp_path / "other") as production:
        monkeypatch.setenv("RELEASE_TEST_INDEX_URL", test.simple_url)
        monkeypatch.setenv("RELEASE_INDEX_URL", production.simple_url)

        def login(password: str) -> None:
            right = Login("testpypi", test.upload_url)
            local_index.pypirc(
                tmp_path / ".pypirc", right, Login("pypi", production.upload_url, password=password)
            )

        login(local_index.PASSWORD)
        yield Scene(tiny(tmp_path / "checkout"), command, login)


def test_a_release_stops_says_how_to_go_on_and_goes_on(scene: Scene) -> None:
    scene.login("wrong")
    status, said, complaint = scene.command("run", "0.2.0")
    assert status == 1
    assert "verify from the test index" in said
    assert complaint.startswith("release: pypi does not let us upload")
    assert complaint.endswith("Then go on with: make release VERSION=0.2.0\n")
    assert len(scene.files("testpypi")) == 2
    assert scene.files("pypi") == set()
    assert scene.tags() == []

    scene.login(local_index.PASSWORD)
    status, said, complaint = scene.command("run", "0.2.0")
    assert (status, complaint) == (0, "")
    assert said.count("done before") == 10
    assert "now run `git push <your remote> main v0.2.0`" in said
    assert len(scene.files("pypi")) == 2
    assert scene.project.git("cat-file", "-t", "v0.2.0") == "tag"
    assert "It is small." in scene.project.git("tag", "--list", "-n9", "v0.2.0")
    assert version.read(scene.project) == "0.2.0"
    assert scene.project.git("status", "--porcelain") == ""

    shutil.rmtree(scene.project.root / ".release")
    write(scene.project.root / "changelog.d" / "+more.fixed.md", "More.\n")
    commit(scene.project)
    status, _, complaint = scene.command("run", "0.2.0")
    assert status == 1
    assert "0.2.0 is released already and can never be replaced; take 0.2.1." in complaint


def test_for_the_workflow_nothing_is_uploaded() -> None:
    names = [step.name for step in steps.for_workflow()]
    assert [name for name in names if "test index" in name or "production" in name] == []
    assert names[-2:] == ["tag", "push"]
    assert len(names) == len(steps.STEPS) - 4


def test_a_correction_is_tested_and_built_again(scene: Scene) -> None:
    status, _, _ = scene.command("run", "0.2.0", "--until", "build")
    first = {path.name: path.read_bytes() for path in (scene.project.root / "dist").iterdir()}
    write(scene.project.root / "README.md", "# Corrected\n")
    commit(scene.project)
    again, said, _ = scene.command("run", "0.2.0", "--until", "build")
    assert (status, again) == (0, 0)
    assert "changelog: done before" in said
    assert "byte-identical twice" in said
    second = {path.name: path.read_bytes() for path in (scene.project.root / "dist").iterdir()}
    assert set(first) == set(second)
    assert all(first[name] != second[name] for name in first)


BAD = {
    "dirty": ("run 0.2.0", r"the tree is not clean \(README\.md\); commit these changes, or put them away"),
    "branch": ("run 0.2.0", r"the branch is other, and releases are made on main; run `git switch main`"),
    "backwards": ("run 0.1.0", r"0\.1\.0 is not higher than 0\.1\.1; take 0\.2\.0"),
    "kind": (
        "run 0.1.2",
        r"does not match changelog\.d \(added\), which calls for a minor version; take 0\.2\.0",
    ),
    "unknown": ("run 0.2.0", r"changelog\.d/\+x\.feature\.md is a fragment of an unknown kind"),
    "no version": ("run 0.2", r"'0\.2' is not a version; give three numbers"),
    "tag": ("run 0.2.0", r"0\.2\.0 is released already"),
    "prefix": ("run v0.2.0", r"'v0\.2\.0' is not a version; give three numbers, such as VERSION=0\.2\.0"),
    "nothing": ("run ", r"'' is not a version; give three numbers"),
    "behind": ("run 0.2.0", r"main is behind elsewhere/main, whose commits would be missing; run `git pull`"),
    "nobody": ("run 0.2.0", r"git does not know who commits and tags; run `git config user\.name NAME` and"),
    "state": ("run 0.2.0", r"0\.2\.0\.json cannot be read; delete it"),
}


def make_bad(scene: Scene, case: str) -> None:
    """Let the checkout be as the case says."""
    root, git = scene.project.root, scene.project.git
    if case == "dirty":
        write(root / "README.md", "# Changed\n")
    elif case == "branch":
        git("switch", "--quiet", "--create", "other")
    elif case == "unknown":
        write(root / "changelog.d" / "+x.feature.md", "X.\n")
        commit(scene.project)
    elif case == "tag":
        git("tag", "v0.2.0")
    elif case == "state":
        write(root / ".release" / "0.2.0.json", "{")
        write(root / ".release" / ".gitignore", "*\n")
    elif case == "nobody":
        git("config", "user.useConfigOnly", "true")  # or git makes an address up from the name of the machine
        git("config", "--unset", "user.email")
    elif case == "behind":
        git("commit", "--quiet", "--allow-empty", "--message", "Of somebody else")
        git("update-ref", "refs/remotes/elsewhere/main", "HEAD")
        git("reset", "--quiet", "--hard", "HEAD~1")
        git("remote", "add", "elsewhere", ".")
        git("branch", "--quiet", "--set-upstream-to", "elsewhere/main")


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_changes_nothing(
    scene: Scene, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL"):
        monkeypatch.delenv(name, raising=False)
    git = scene.project.git
    make_bad(scene, case)
    before, tags = git("rev-parse", "HEAD"), scene.tags()
    words, why = BAD[case]
    status, _, complaint = scene.command(*words.split(" "))
    assert status == 1
    sentence = complaint.splitlines()[0]
    with pytest.raises(Problem, match=why):
        raise Problem(sentence)
    assert sentence.endswith(".")
    assert "Traceback" not in complaint
    assert ("go on with" in complaint) == version.is_version(words.removeprefix("run "))
    assert (git("rev-parse", "HEAD"), scene.tags()) == (before, tags)
    assert scene.files("testpypi") == scene.files("pypi") == set()


@pytest.mark.parametrize(
    ("packages", "why"),
    [
        ("other/packages", "0.2.0 is released already and can never be replaced"),
        ("packages", "0.2.0 is on testpypi already, from a try that was given up"),
    ],
)
def test_a_version_that_only_an_index_knows_is_refused(
    scene: Scene, tmp_path: Path, packages: str, why: str
) -> None:
    (tmp_path / packages / "tiny_monitor-0.2.0.tar.gz").write_bytes(b"of another checkout")
    before = scene.project.git("rev-parse", "HEAD")
    status, _, complaint = scene.command("run", "0.2.0")
    assert status == 1
    assert why in complaint
    assert (scene.project.git("rev-parse", "HEAD"), scene.tags()) == (before, [])


@pytest.mark.parametrize("setting", ["RELEASE_TEST_INDEX_URL", "RELEASE_INDEX_URL"])
def test_with_an_index_that_answers_with_a_web_page_nothing_is_begun(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    before = scene.project.git("rev-parse", "HEAD")
    with monkeypatch.context() as elsewhere, serving(WebPage) as url:
        elsewhere.setenv(setting, url)
        status, _, complaint = scene.command("run", "0.2.0")
    assert status == 1
    assert f"answers with a web page and not with a list of files; set {setting}" in complaint
    assert "Traceback" not in complaint
    assert (scene.project.git("rev-parse", "HEAD"), scene.tags()) == (before, [])
    assert scene.files("testpypi") == scene.files("pypi") == set()


def test_a_missing_tool_is_named(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "TOOLS", (*steps.TOOLS, "a_tool_that_is_missing"))
    status, _, complaint = scene.command("run", "0.2.0")
    assert status == 1
    assert "a_tool_that_is_missing is not installed; run `pip install -e '.[dev]'`." in complaint
    assert scene.tags() == []


def test_an_installation_that_brings_too_much_is_named_before_production(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert verify.LARGEST_INSTALLATION == 110_000_000
    monkeypatch.setattr(verify, "LARGEST_INSTALLATION", 1000)
    status, _, complaint = scene.command("run", "0.2.0")
    assert status == 1
    assert re.search(
        r"pip install tiny-monitor brings \d+ MB, 0 at most are allowed; move a dependency", complaint
    )
    assert scene.files("pypi") == set()
    assert scene.tags() == []


def test_a_missing_program_is_named(scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    git = shutil.which("git")
    assert git is not None
    (tmp_path / "bin" / "git").symlink_to(git)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert "make is not installed; install it" in scene.command("run", "0.2.0")[2]


def test_outside_a_checkout_the_command_says_so(command: Command, tmp_path: Path) -> None:
    (tmp_path / "checkout").mkdir()
    status, _, complaint = command("next")
    assert status == 1
    assert complaint.startswith("release: there is no pyproject.toml here; run this in the root")


def test_a_folder_that_is_no_checkout_is_named(command: Command, tmp_path: Path) -> None:
    shutil.rmtree(tiny(tmp_path / "checkout").root / ".git")
    for words in (("run", "0.2.0"), ("next",), ("rehearse",), ("build",)):
        status, _, complaint = command(*words)
        assert (status, complaint.splitlines()[0]) == (
            1,
            "release: this folder is not a git checkout; clone the repository and release from there.",
        )


def test_the_wrong_python_is_named(request: pytest.FixtureRequest) -> None:
    bare = [sys.executable, "-S", "-m", "release", "next"]  # -S: as if nothing were installed
    done = subprocess.run(bare, cwd=request.config.rootpath, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert re.fullmatch(r"release: packaging is not installed for \S+; run this with .+\n", done.stderr)


def test_a_step_that_there_is_not_is_refused_before_anything_is_done(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny(tmp_path / "checkout")
    with pytest.raises(SystemExit):
        command("run", "0.2.0", "--until", "bild")
    assert "invalid choice: 'bild'" in capsys.readouterr().err


def test_what_the_system_refuses_is_one_sentence_too(command: Command, tmp_path: Path) -> None:
    project = tiny(tmp_path / "checkout")
    (project.root / "CHANGELOG.md").unlink()
    (project.root / "dist").write_text("in the way")
    for words in (("notes",), ("check",)):
        status, _, complaint = command(*words)
        assert status == 1
        assert len(complaint.splitlines()) == 1
        assert complaint.startswith("release: ")


def test_a_rehearsal_is_brief_on_loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELEASE_REHEARSAL", "brief")
    monkeypatch.setenv("RELEASE_TEST_INDEX_URL", "http://127.0.0.1:9/simple/")
    monkeypatch.delenv("RELEASE_INDEX_URL", raising=False)
    test, production = (index.from_environment(name) for name in ("testpypi", "pypi"))
    assert __main__._rehearsal(test, production) == {"tested": False, "brief": False}
    monkeypatch.setenv("RELEASE_INDEX_URL", "http://127.0.0.1:9/simple/")
    assert __main__._rehearsal(test, index.from_environment("pypi"))["brief"]


def test_the_state_survives_and_names_the_commits(scene: Scene) -> None:
    scene.command("run", "0.2.0", "--until", "changelog")
    kept = json.loads((scene.project.root / ".release" / "0.2.0.json").read_text())["steps"]
    assert kept["changelog"] == scene.project.commit() != kept["version"]
    assert scene.project.git("status", "--porcelain") == ""
