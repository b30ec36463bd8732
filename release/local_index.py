"""Real package indexes on loopback, for the rehearsal and the tests: devpi-server and pypiserver.

Both listen on a free port of 127.0.0.1, keep everything in the given folder, and end with the `with`.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from release.problem import Problem
from release.project import last_line, run

USER, PASSWORD, STRANGER = "uploader", "rehearsal", "stranger"


class LocalIndex(NamedTuple):
    """Where to upload, where to install from."""

    upload_url: str
    simple_url: str


class Login(NamedTuple):
    """A section of a .pypirc."""

    repository: str
    upload_url: str
    user: str = USER
    password: str = PASSWORD


def pypirc(path: Path, *logins: Login) -> Path:
    """Write a .pypirc, readable by its owner only."""
    text = "".join(
        f"[{login.repository}]\nrepository = {login.upload_url}\n"
        f"username = {login.user}\npassword = {login.password}\n\n"
        for login in logins
    )
    path.touch(mode=0o600)
    path.write_text(text)
    return path


@contextmanager
def devpi(folder: Path) -> Iterator[LocalIndex]:
    """A devpi-server with the index `uploader/rehearsal`, to which nobody else may upload."""
    data, root = folder / "devpi", "only-on-loopback"
    done = run(
        [_script("devpi-init"), "--serverdir", data, "--no-root-pypi", "--root-passwd", root], cwd=folder
    )
    if done.returncode:
        raise Problem(f"devpi-server cannot be set up ({last_line(done)}); run `pip install -e '.[dev]'`.")
    port = _free_port()
    base = f"http://127.0.0.1:{port}"
    command = [_script("devpi-server"), "--serverdir", str(data), "--host", "127.0.0.1", "--port", str(port)]
    with _serving(command, folder / "devpi.log", f"{base}/+api"):
        for user in (USER, STRANGER):
            _request("PUT", f"{base}/{user}", {"password": PASSWORD})
        token = _request("POST", f"{base}/+login", {"user": USER, "password": PASSWORD})["result"]["password"]
        _request("PUT", f"{base}/{USER}/rehearsal", {"bases": [], "volatile": False}, user=USER, token=token)
        yield LocalIndex(f"{base}/{USER}/rehearsal/", f"{base}/{USER}/rehearsal/+simple/")


@contextmanager
def pypiserver(folder: Path) -> Iterator[LocalIndex]:
    """A pypiserver that asks for a password to upload, and never asks another index."""
    packages = folder / "packages"
    packages.mkdir()
    secret = b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()  # one of the forms of htpasswd
    (folder / "htpasswd").write_text(f"{USER}:{{SHA}}{secret}\n")
    port = _free_port()
    base = f"http://127.0.0.1:{port}"
    options = ["--disable-fallback", "--hash-algo", "sha256", "-a", "update", "-P", str(folder / "htpasswd")]
    command = [sys.executable, "-W", "ignore", "-m", "pypiserver", "run", "-i", "127.0.0.1", "-p", str(port)]
    with _serving([*command, *options, str(packages)], folder / "pypiserver.log", f"{base}/health"):
        yield LocalIndex(f"{base}/", f"{base}/simple/")


def _script(name: str) -> str:
    """A command of the environment that runs us, which need not be on PATH."""
    return str(Path(sys.executable).with_name(name))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _serving(command: list[str], log: Path, url: str) -> Iterator[None]:
    with log.open("wb") as output:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("DEVPI")}
        server = subprocess.Popen(
            command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=environment
        )
    try:
        _wait(server, url, log)
        yield
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urlopen(url, timeout=5):
                return
        except HTTPError:
            return
        except (URLError, OSError):
            time.sleep(0.1)
    lines = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
    raise Problem(
        f"the local index does not start ({lines[-1]}); run `pip install -e '.[dev]'` and try again."
    )


def _request(method: str, url: str, body: dict[str, Any], *, user: str = "", token: str = "") -> Any:
    request = Request(url, method=method, data=json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("X-Devpi-Auth", b64encode(f"{user}:{token}".encode()).decode())
    with urlopen(request, timeout=60) as response:
        return json.load(response)
