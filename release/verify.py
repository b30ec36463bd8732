"""Installs from an index as a stranger would, without the checkout, and tries what was installed."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from release import contents, pythons
from release.build import digest
from release.index import Index
from release.problem import Problem
from release.project import Project, last_line
from release.pythons import Environment, require

LARGEST_INSTALLATION = 110_000_000  # bytes, with everything that pip brings
DEMO_SECONDS = "5"
PATIENCE = 300.0  # seconds until an index must show what it accepted
IMPORT = "import {package} as p, sys; print(p.__version__); print(p.__file__)"

Done = subprocess.CompletedProcess[str]


def verify(
    project: Project,
    index: Index,
    version: str,
    artefacts: Sequence[Path],
    *,
    everything: bool = True,
    patience: float = PATIENCE,
) -> list[str]:
    """Try the core on every Python found and every extra on the default one; returns a line for each."""
    chosen = pythons.found() if everything else {pythons.default(): pythons.found()[pythons.default()]}
    cases = [(python, "") for python in chosen.values()]
    cases += [(chosen[pythons.default()], extra) for extra in contents.extras(project) if everything]
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(2) as pool:

        def one(number: int) -> str:
            python, extra = cases[number]
            environment = Environment(Path(scratch) / str(number), python)
            return _try(project, environment, index, version, artefacts, extra, patience)

        return list(pool.map(one, range(len(cases))))


def _try(
    project: Project,
    environment: Environment,
    index: Index,
    version: str,
    artefacts: Sequence[Path],
    extra: str,
    patience: float,
) -> str:
    install(project, environment, index, version, artefacts, extra, patience)
    python = _imports(project, environment, version)
    require(environment.pip("check"), f"pip check of {project.name}[{extra}]", "correct the dependencies")
    _checks(project, environment, extra)
    if extra:
        return f"[{extra}] on Python {python}: installs, imports, check finds it"
    brought = pythons.size(environment.site_packages())
    if brought > LARGEST_INSTALLATION:
        raise Problem(
            f"pip install {project.name} brings {brought / 1e6:.0f} MB, {LARGEST_INSTALLATION / 1e6:.0f} at "
            "most are "
            "allowed; move a dependency into an extra."
        )
    _demonstrates(project, environment)
    return f"core on Python {python}: installs ({brought / 1e6:.1f} MB in all), imports, demo and check work"


def install(
    project: Project,
    environment: Environment,
    index: Index,
    version: str,
    artefacts: Sequence[Path],
    extra: str,
    patience: float = PATIENCE,
) -> None:
    """Our distribution from that index alone and with our digests, its dependencies from where pip looks."""
    lock = environment.work / "requirements.txt"
    hashes = " ".join(f"--hash=sha256:{digest(path)}" for path in artefacts)
    lock.write_text(f"{project.name}=={version} {hashes}\n")
    options = ["--quiet", "--no-deps", "--no-cache-dir", "--require-hashes", "--index-url", index.simple_url]
    done = _patiently(lambda: environment.pip("install", *options, "-r", lock, only_index=True), patience)
    if done.returncode and "DO NOT MATCH" in done.stdout + done.stderr:
        raise Problem(
            f"{index.repository} gives other bytes for {version} than were built here; do not announce this "
            "release, "
            "find out who uploaded it, and release under the next version number."
        )
    require(
        done,
        f"installing {project.name} {version} from {index.repository}",
        "wait a minute if the upload has just ended, then run the same command again",
    )
    wanted = f"{project.name}[{extra}]=={version}" if extra else f"{project.name}=={version}"
    done = environment.pip("install", "--quiet", wanted)
    require(done, f"installing what {wanted} needs", "correct the dependencies, or look at the network")


def _patiently(attempt: Callable[[], Done], patience: float) -> Done:
    """Indexes behind a cache need a while until pip sees what was uploaded."""
    deadline, pause = time.monotonic() + patience, 2.0
    while True:
        done = attempt()
        waiting = "No matching distribution" in done.stdout + done.stderr
        if done.returncode == 0 or not waiting or time.monotonic() + pause > deadline:
            return done
        time.sleep(pause)
        pause = min(2 * pause, 30)


def _imports(project: Project, environment: Environment, version: str) -> str:
    """The Python version it was imported on."""
    done = environment.run("python", "-I", "-c", IMPORT.format(package=project.package))
    said, file = require(done, f"import {project.package}", "correct the package").split("\n")[:2]
    if said != version:
        raise Problem(
            f"__version__ of the installed package is {said} and its metadata say {version}; build again "
            "from a clean "
            "checkout."
        )
    if not Path(file).is_relative_to(environment.folder.resolve()):
        raise Problem(
            f"the import came from {file} and not from the fresh environment; run it outside the checkout."
        )
    return environment.site_packages().parent.name.removeprefix("python")


def _checks(project: Project, environment: Environment, extra: str) -> None:
    done = environment.run(project.name, "check", "--json")
    findings = json.loads(require(done, f"{project.name} check", "correct what it finds"))["findings"]
    extras = [f["message"] for f in findings if f["subject"] == "extras"]
    if extra and not any(message.startswith(f"{extra} is installed") for message in extras):
        raise Problem(
            f"`check` does not find the extra {extra} that was installed; list it in pyproject.toml and "
            "there."
        )


def _demonstrates(project: Project, environment: Environment) -> None:
    done = environment.run(project.name, "demo", "--seconds", DEMO_SECONDS, "--json")
    try:
        json.loads(require(done, f"{project.name} demo", "run it by hand to see why"))
    except ValueError:
        raise Problem(
            f"{project.name} demo --json printed no JSON ({last_line(done)}); correct it."
        ) from None
