"""The steps of a release in their order. Each may be repeated; none begins before all above it are done.

A step is done for a commit. When a correction is committed, the steps from the tests on are done again.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from release import build, changelog, contents, evidence, index, pypirc, upgrade, upload, verify, version
from release.index import Index
from release.problem import Problem
from release.project import Project, install_editable, last_line, run
from release.state import State

TOOLS = ("build", "twine", "towncrier", "hatchling", "zopfli", "packaging", "cyclonedx_py")
MAKE_SECONDS = 7200.0  # for all tests, on a small or busy machine


@dataclass
class Release:
    """One version on its way, and where it goes."""

    project: Project
    version: str
    test: Index
    production: Index
    tested: bool = False  # a test run of the same commit counts
    brief: bool = False  # one Python, no isolation, no make targets: for the second rehearsal of one tree

    @property
    def dist(self) -> Path:
        return self.project.root / "dist"

    def artefacts(self) -> list[Path]:
        return build.artefacts(self.dist)


class Step(NamedTuple):
    """A step: its name, what it does, and how long it holds once it is done."""

    name: str
    action: Callable[[Release], str]
    holds: str = "commit"  # "never", for this "commit", for the "release"


def run_steps(
    release: Release, say: Callable[[str], None], until: str | None = None, via_workflow: bool = False
) -> None:
    """Do what is not done yet; the first failure ends it with a `Problem`."""
    steps = for_workflow() if via_workflow else STEPS
    state = State(release.project, release.version)
    for number, step in enumerate(steps, 1):
        commit = release.project.commit()
        before = state.commit_of(step.name)
        if before is not None and (step.holds == "release" or (step.holds == "commit" and before == commit)):
            say(f"{number:2}/{len(steps)} {step.name}: done before")
            continue
        result = step.action(release)
        state.done(step.name, release.project.commit())
        say(f"{number:2}/{len(steps)} {step.name}: {result}")
        if step.name == until:
            return


def clean_tree(release: Release) -> str:
    changed = release.project.git("status", "--porcelain").splitlines()
    if changed:
        names = ", ".join(line[3:] for line in changed[:3])
        raise Problem(
            f"the tree is not clean ({names}); commit these changes, or put them away with `git stash -u`."
        )
    return "nothing uncommitted"


def on_main(release: Release) -> str:
    branch = release.project.git("branch", "--show-current")
    if branch != "main":
        raise Problem(
            f"the branch is {branch or 'none'}, and releases are made on main; run `git switch main`."
        )
    tracked = release.project.git("for-each-ref", "--format=%(upstream:short)", "refs/heads/main")
    if tracked and release.project.git("rev-list", "--max-count=1", f"HEAD..{tracked}"):
        raise Problem(f"main is behind {tracked}, whose commits would be missing; run `git pull` first.")
    return "yes"


def tools(release: Release) -> str:
    """Everything that later steps need, before anything is changed."""
    from importlib.util import find_spec

    missing = [name for name in TOOLS if find_spec(name) is None]
    if missing:
        raise Problem(f"{', '.join(missing)} is not installed; run `pip install -e '.[dev]'`.")
    for command in ("git", "make"):
        if shutil.which(command) is None:
            raise Problem(f"{command} is not installed; install it, on Debian with `apt install {command}`.")
    if run(["git", "var", "GIT_COMMITTER_IDENT"], cwd=release.project.root).returncode:
        raise Problem(
            "git does not know who commits and tags; run `git config user.name NAME` and `git config "
            "user.email ADDRESS`."
        )
    pypirc.check(release.test.pypirc, release.test.repository)
    pypirc.check(release.production.pypirc, release.production.repository)
    return "installed"


def released(project: Project, indexes: Sequence[Index]) -> set[str]:
    """Every version that an index, a tag or the changelog knows."""
    tags = {tag[1:] for tag in project.git("tag", "--list", "v*").splitlines()}
    found = tags | set(changelog.headings(project))
    for each in indexes:
        found |= index.versions(index.files(each, project.name), project.name)
    return found


def next_version(release: Release) -> str:
    """Refuse a version that may not come next."""
    wanted = version.parse(release.version)
    kinds = changelog.kinds(release.project)
    version.check(wanted, released(release.project, [release.production]), kinds)
    on_test = index.versions(index.files(release.test, release.project.name), release.project.name)
    if release.version in on_test:
        raise Problem(
            f"{wanted} is on {release.test.repository} already, from a try that was given up; no index lets "
            "a file be "
            "replaced, so take the next number."
        )
    return f"{wanted} is free, higher, and matches {len(kinds)} fragments"


def assemble(release: Release) -> str:
    """Version and changelog, in one commit."""
    bump(release.project, release.version)
    if Path(sys.prefix).is_relative_to(release.project.root):
        install_editable(release.project, sys.executable)
    return f"committed as {release.project.commit()[:12]}"


def bump(project: Project, wanted: str) -> None:
    """Write the version and the changelog, and commit both."""
    version.write(project, version.parse(wanted))
    changelog.assemble(project, version.parse(wanted))
    project.git("add", "--all", "changelog.d", "CHANGELOG.md", str(project.version_file))
    project.git("commit", "--quiet", "--message", f"Release {wanted}")


def make(target: str) -> Callable[[Release], str]:
    """A step that runs a make target, with its output on the screen's last line only when it fails."""

    def step(release: Release) -> str:
        if release.brief or (release.tested and target == "test"):
            return "done before for the same files"
        command = ["make", "--no-print-directory", target]
        done = run(command, cwd=release.project.root, timeout=MAKE_SECONDS)
        if done.returncode:
            tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
            raise Problem(f"`make {target}` failed; correct it, commit, and go on.\n{tail}")
        return last_line(done)[:100]

    return step


def clean_build(release: Release) -> str:
    made = build.build(release.project, release.dist, isolated=not release.brief)
    return (
        ", ".join(f"{path.name} ({path.stat().st_size // 1000} kB)" for path in made)
        + ", byte-identical twice"
    )


def check_contents(release: Release) -> str:
    said = version.read(release.project)
    if said != release.version:
        raise Problem(
            f"the source says {said} and not {release.version}; run `python -m release bump "
            f"{release.version}`."
        )
    wheel, sdist = release.artefacts()
    contents.check(release.project, wheel, sdist, release.version)
    bill = evidence.sbom(release.project, wheel, release.dist)
    evidence.checksums(release.dist, [wheel, sdist, bill])
    return "complete, nothing else inside; SBOM and SHA256SUMS written"


def check_upgrade(release: Release) -> str:
    held = index.versions(index.files(release.production, release.project.name), release.project.name)
    wanted = version.parse(release.version)
    before = [str(each) for each in version.known(held) if each < wanted]
    lines = upgrade.check(
        release.project,
        release.production,
        release.artefacts()[0],
        before[-1] if before else None,
        oldest=not release.brief,
    )
    return "; ".join(lines) or "there is no earlier release on the index"


def to_test(release: Release) -> str:
    return _upload(release, release.test)


def from_test(release: Release) -> str:
    return _verify(release, release.test)


def to_production(release: Release) -> str:
    return _upload(release, release.production)


def from_production(release: Release) -> str:
    return _verify(release, release.production)


def _upload(release: Release, where: Index) -> str:
    sent = upload.upload(release.project, where, release.artefacts())
    return f"{', '.join(sent) or 'nothing to send,'} {'to' if sent else 'all is on'} {where.repository}"


def _verify(release: Release, where: Index) -> str:
    lines = verify.verify(
        release.project, where, release.version, release.artefacts(), everything=not release.brief
    )
    return "\n      ".join(["", *lines])


def tag(release: Release) -> str:
    """An annotated tag on the commit that was built."""
    name = f"v{release.version}"
    if name in release.project.git("tag", "--list", name).splitlines():
        if release.project.git("rev-list", "-n", "1", name) != release.project.commit():
            raise Problem(f"the tag {name} names another commit; look who made it with `git show {name}`.")
        return f"{name} is there"
    notes = changelog.section(release.project, version.parse(release.version))
    release.project.git("tag", "--annotate", name, "--cleanup=verbatim", "--message", f"{name}\n\n{notes}")
    return name


def push(release: Release) -> str:
    """Pushing is left to whoever releases: it is the one act that others see at once."""
    remote = "origin" if "origin" in release.project.git("remote").splitlines() else "<your remote>"
    return f"now run `git push {remote} main v{release.version}`"


STEPS = (
    Step("clean tree", clean_tree, "never"),
    Step("on main", on_main, "never"),
    Step("tools", tools),
    Step("version", next_version, "release"),
    Step("changelog", assemble, "release"),
    Step("tests", make("test")),
    Step("lint and types", make("lint")),
    Step("documents", make("docs")),
    Step("build", clean_build),
    Step("contents", check_contents),
    Step("upgrade", check_upgrade),
    Step("upload to the test index", to_test),
    Step("verify from the test index", from_test),
    Step("upload to production", to_production),
    Step("verify from production", from_production),
    Step("tag", tag),
    Step("push", push, "never"),
)
ON_AN_INDEX = (
    "upload to the test index",
    "verify from the test index",
    "upload to production",
    "verify from production",
)


def for_workflow() -> tuple[Step, ...]:
    """Without the uploads, which the workflow does once the tag is pushed."""
    return tuple(step for step in STEPS if step.name not in ON_AN_INDEX)


def say(line: str) -> None:
    print(line, flush=True)


def complain(problem: Problem, how_to_go_on: str) -> int:
    """What is wrong, and how to continue; the exit status."""
    print(f"release: {problem}\n{how_to_go_on}".rstrip(), file=sys.stderr)
    return 1
