"""`python -m release`: the commands, run in the root of the checkout."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

try:
    from release import build, changelog, contents, evidence, index, steps, upload, verify, version
    from release.index import Index
    from release.problem import Problem
    from release.project import Project
    from release.steps import Release, complain, run_steps, say
except ModuleNotFoundError as missing:
    sys.exit(
        f"release: {missing.name} is not installed for {sys.executable}; run this with .venv/bin/python, "
        "which `make test` sets up."
    )

INDEXES = {"test": "testpypi", "production": "pypi"}


def main(words: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    options = _parser().parse_args(words)
    project = Project(Path.cwd())
    try:
        if not (project.root / "pyproject.toml").is_file():
            raise Problem("there is no pyproject.toml here; run this in the root of the checkout.")
        if not (project.root / ".git").exists():
            raise Problem("this folder is not a git checkout; clone the repository and release from there.")
        options.command(project, options)
    except Problem as problem:
        return complain(problem, _how_to_go_on(options))
    except subprocess.TimeoutExpired as late:
        what = (
            f"`{' '.join(map(str, late.cmd))[:200]}` did not end within {late.timeout:.0f} s; find out why."
        )
        return complain(Problem(what), _how_to_go_on(options))
    except OSError as error:
        return complain(Problem(f"{error}; put that right."), _how_to_go_on(options))
    except KeyboardInterrupt:
        return complain(Problem("interrupted; what is done is remembered."), _how_to_go_on(options))
    return 0


def _how_to_go_on(options: argparse.Namespace) -> str:
    if options.command is not _run or not version.is_version(options.version):
        return ""
    workflow = " PUBLISH=workflow" if options.publish == "workflow" else ""
    return f"Then go on with: make release VERSION={options.version}{workflow}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m release", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="release a version, or go on where it stopped")
    run.add_argument("version")
    run.add_argument("--publish", choices=("here", "workflow"), default="here", help="who uploads")
    names = [step.name for step in steps.STEPS]
    run.add_argument("--until", choices=names, metavar="STEP", help=f"stop after: {', '.join(names)}")
    run.set_defaults(command=_run)

    commands.add_parser("rehearse", help="all of it on local indexes, in a clone").set_defaults(
        command=_rehearse
    )
    commands.add_parser("next", help="the version that changelog.d calls for").set_defaults(command=_next)
    bump = commands.add_parser("bump", help="set the version, assemble the changelog, commit")
    bump.add_argument("version")
    bump.set_defaults(command=_bump)
    commands.add_parser("build", help="clean, twice, into dist/").set_defaults(command=_build)
    commands.add_parser("check", help="contents, metadata, README and size of dist/").set_defaults(
        command=_check
    )
    commands.add_parser("evidence", help="SBOM and SHA256SUMS for dist/").set_defaults(command=_evidence)
    notes = commands.add_parser("notes", help="what the changelog says about the version")
    notes.set_defaults(command=_notes)
    for name, command, what in (
        ("upload", _upload, "send what the index lacks of dist/"),
        ("verify", _verify, "install dist/'s version from the index and try it"),
    ):
        sub = commands.add_parser(name, help=what)
        sub.add_argument("index", choices=INDEXES)
        sub.set_defaults(command=command)
    return parser


def _release(project: Project, wanted: str) -> Release:
    test, production = (index.from_environment(name) for name in ("testpypi", "pypi"))
    return Release(project, wanted, test, production, **_rehearsal(test, production))


def _rehearsal(test: Index, production: Index) -> dict[str, bool]:
    """What may be left out; with an index that is not on this machine, nothing may."""
    local = all(each.simple_url.startswith("http://127.0.0.1:") for each in (test, production))
    wanted = os.environ.get("RELEASE_REHEARSAL", "") if local else ""
    return {"tested": wanted == "tested", "brief": wanted == "brief"}


def _run(project: Project, options: argparse.Namespace) -> None:
    version.parse(options.version)
    release = _release(project, options.version)
    run_steps(release, say, until=options.until, via_workflow=options.publish == "workflow")


def _rehearse(project: Project, options: argparse.Namespace) -> None:
    from release import rehearsal

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the local indexes end as well
    rehearsal.rehearse(project, say)


def _next(project: Project, options: argparse.Namespace) -> None:
    known = steps.released(project, [index.from_environment("pypi")])
    say(str(version.following(known, changelog.kinds(project))))


def _bump(project: Project, options: argparse.Namespace) -> None:
    release = _release(project, options.version)
    steps.clean_tree(release)
    steps.next_version(release)
    steps.bump(project, options.version)
    say(f"committed as {project.commit()[:12]}")


def _build(project: Project, options: argparse.Namespace) -> None:
    say(steps.clean_build(_release(project, version.read(project))))


def _check(project: Project, options: argparse.Namespace) -> None:
    wheel, sdist = build.artefacts(project.root / "dist")
    contents.check(project, wheel, sdist, version.read(project))
    say("complete, and nothing else inside")


def _evidence(project: Project, options: argparse.Namespace) -> None:
    dist = project.root / "dist"
    artefacts = build.artefacts(dist)
    bill = evidence.sbom(project, artefacts[0], dist)
    say(f"{bill.name}, {evidence.checksums(dist, [*artefacts, bill]).name}")


def _notes(project: Project, options: argparse.Namespace) -> None:
    say(changelog.section(project, version.parse(version.read(project))).rstrip())


def _upload(project: Project, options: argparse.Namespace) -> None:
    where = index.from_environment(INDEXES[options.index])
    sent = upload.upload(project, where, build.artefacts(project.root / "dist"))
    say(f"sent: {', '.join(sent) or 'nothing, all is there'}")


def _verify(project: Project, options: argparse.Namespace) -> None:
    where = index.from_environment(INDEXES[options.index])
    release = _release(project, version.read(project))
    lines = verify.verify(project, where, release.version, release.artefacts(), everything=not release.brief)
    say("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
