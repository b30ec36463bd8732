"""What goes wrong in uploads, against real indexes: each answered in one sentence that says what to do."""

from __future__ import annotations

import itertools
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from release import build, index, local_index, pypirc, upload
from release.index import Index
from release.local_index import LocalIndex, Login
from release.problem import Problem
from release.project import Project

from release_tiny import WebPage, commit, needs, readable_by_others, serving, tiny, write

needs("build", "twine", "hatchling", "devpi-server", "pypiserver")
pytestmark = pytest.mark.timeout(600)  # programs are started, which takes long on a busy machine

NUMBERS = itertools.count()
SERVERS = ("devpi", "pypiserver")


class Refused(NamedTuple):
    """What is not to arrive."""

    project: Project
    artefacts: list[Path]


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> LocalIndex:
    running: LocalIndex = request.getfixturevalue(f"only_{request.param}")
    return running


@pytest.fixture(scope="module")
def only_devpi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalIndex]:
    with local_index.devpi(tmp_path_factory.mktemp("devpi")) as running:
        yield running


@pytest.fixture(scope="module")
def only_pypiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalIndex]:
    with local_index.pypiserver(tmp_path_factory.mktemp("pypiserver")) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    for name in ("TWINE_USERNAME", "TWINE_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project that no index has seen."""
    return tiny(tmp_path / "checkout", f"tiny-monitor-{next(NUMBERS)}")


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Refused:
    """A project, built, for the tests in which nothing may arrive."""
    project = tiny(tmp_path_factory.mktemp("refused"), "tiny-refused")
    return Refused(project, made(project))


def made(project: Project) -> list[Path]:
    command = [sys.executable, "-m", "hatchling", "build", "-d", "dist"]
    subprocess.run(command, cwd=project.root, check=True, capture_output=True)
    return build.artefacts(project.root / "dist")


def at(server: LocalIndex, folder: Path, user: str = local_index.USER, password: str = "") -> Index:
    login = Login("pypi", server.upload_url, user, password or local_index.PASSWORD)
    return Index("pypi", server.simple_url, local_index.pypirc(folder / ".pypirc", login))


def refusal(case: Refused, where: Index) -> str:
    """The sentence with which the upload is refused."""
    with pytest.raises(Problem) as caught:
        upload.upload(case.project, where, case.artefacts, patience=0)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert local_index.PASSWORD not in sentence
    return sentence


def test_an_upload_may_be_repeated(server: LocalIndex, project: Project, tmp_path: Path) -> None:
    where, artefacts = at(server, tmp_path), made(project)
    assert index.files(where, project.name) == {}
    assert upload.upload(project, where, artefacts) == [path.name for path in artefacts]
    assert upload.upload(project, where, artefacts) == []
    held = index.files(where, project.name)
    assert index.versions(held, project.name) == {"0.1.1"}
    assert all(index.holds(held[path.name], path, where) for path in artefacts)


def test_a_version_already_uploaded_with_other_content(
    server: LocalIndex, project: Project, tmp_path: Path
) -> None:
    where = at(server, tmp_path)
    upload.upload(project, where, made(project))
    write(project.root / "README.md", "# Another\n")
    sentence = refusal(Refused(project, made(commit(project))), where)
    assert "with other content" in sentence
    assert "release under the next version number" in sentence


@pytest.mark.parametrize("name", SERVERS)
def test_the_index_itself_refuses_other_content(
    name: str, request: pytest.FixtureRequest, project: Project, tmp_path: Path
) -> None:
    """409 of devpi and 400 of pypiserver, as when somebody else was faster than our look at the index."""
    where = at(request.getfixturevalue(f"only_{name}"), tmp_path)
    upload.upload(project, where, made(project))
    write(project.root / "README.md", "# Another\n")
    changed = made(commit(project))[0]
    done = upload.send(project, where, changed)
    assert {"devpi": "409", "pypiserver": "400"}[name] in done.stdout + done.stderr
    assert "with other content" in str(upload.explain(done, where, changed))


def test_a_wrong_password_is_401_at_devpi(only_devpi: LocalIndex, refused: Refused, tmp_path: Path) -> None:
    sentence = refusal(refused, at(only_devpi, tmp_path, password="wrong"))
    assert "wrong or missing (401); put a token for this project into [pypi]" in sentence


def test_an_account_without_the_right_is_403_at_devpi(
    only_devpi: LocalIndex, refused: Refused, tmp_path: Path
) -> None:
    sentence = refusal(refused, at(only_devpi, tmp_path, user=local_index.STRANGER))
    assert "may not upload this project (403); put a token" in sentence


def test_a_wrong_password_is_403_at_pypiserver(
    only_pypiserver: LocalIndex, refused: Refused, tmp_path: Path
) -> None:
    sentence = refusal(refused, at(only_pypiserver, tmp_path, password="wrong"))
    assert "(403); put a token" in sentence


def test_an_empty_login_is_401_at_pypiserver(
    only_pypiserver: LocalIndex, refused: Refused, tmp_path: Path
) -> None:
    where = at(only_pypiserver, tmp_path)
    write(where.pypirc, f"[pypi]\nrepository = {only_pypiserver.upload_url}\nusername =\npassword =\n")
    sentence = refusal(refused, where)
    assert "put a token for this project into [pypi]" in sentence


def test_a_missing_token_is_named(only_devpi: LocalIndex, refused: Refused, tmp_path: Path) -> None:
    where = at(only_devpi, tmp_path)
    write(where.pypirc, f"[pypi]\nrepository = {only_devpi.upload_url}\n")
    sentence = refusal(refused, where)
    assert "there is neither a token nor a password; put a token for this project into [pypi]" in sentence


PYPIRCS: list[tuple[str, str, str]] = [
    ("pypi username = x\n", "is not a .pypirc (", "it consists of sections such as [pypi]"),
    ("[testpypi]\nusername = x\n", "has no section [pypi]", "add it with `username` and `password`"),
    ("[pypi]\nrepository = http://example.org/\n", "to which a token must not be sent", "give an https://"),
    (
        "[pypi]\nusername = me\npassword = pypi-AgEI\n",
        "a token with the username 'me'",
        "username = __token__",
    ),
]


@pytest.mark.parametrize(("text", "wrong", "remedy"), PYPIRCS)
def test_a_wrong_pypirc_is_named_before_anything_is_sent(
    tmp_path: Path, text: str, wrong: str, remedy: str
) -> None:
    file = tmp_path / ".pypirc"
    file.touch(mode=0o600)
    file.write_text(text)
    with pytest.raises(Problem) as caught:
        pypirc.check(file, "pypi")
    assert str(file) in str(caught.value)
    assert wrong in str(caught.value)
    assert remedy in str(caught.value)
    assert "AgEI" not in str(caught.value)


def test_a_pypirc_that_others_can_read_is_refused(
    only_devpi: LocalIndex, refused: Refused, tmp_path: Path
) -> None:
    where = at(only_devpi, tmp_path)
    readable_by_others(where.pypirc)
    sentence = refusal(refused, where)
    assert f"can be read by others; run `chmod 600 {where.pypirc}`" in sentence
    assert index.files(where, refused.project.name) == {}


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_an_index_that_cannot_be_reached_is_named(refused: Refused, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{unused_port()}/"
    sentence = refusal(refused, at(LocalIndex(url, url + "simple/"), tmp_path))
    assert "pypi cannot be reached at http://127.0.0.1" in sentence
    assert "look at the network and at RELEASE_INDEX_URL" in sentence


def test_an_upload_address_that_cannot_be_reached_is_named(
    only_pypiserver: LocalIndex, refused: Refused, tmp_path: Path
) -> None:
    dead = LocalIndex(f"http://127.0.0.1:{unused_port()}/", only_pypiserver.simple_url)
    sentence = refusal(refused, at(dead, tmp_path))
    assert "was interrupted (no connection); run the same command again" in sentence


def test_an_index_that_answers_with_a_web_page_is_named(refused: Refused, tmp_path: Path) -> None:
    with serving(WebPage) as url:
        sentence = refusal(refused, at(LocalIndex(url, url), tmp_path))
    assert "answers with a web page and not with a list of files; set RELEASE_INDEX_URL" in sentence


def test_an_upload_that_a_web_page_swallowed_is_noticed(
    only_pypiserver: LocalIndex, refused: Refused, tmp_path: Path
) -> None:
    with serving(WebPage) as url:
        where = at(LocalIndex(url, only_pypiserver.simple_url), tmp_path)
        sentence = refusal(refused, where)
    assert "but does not list it at" in sentence
    assert "look whether RELEASE_INDEX_URL belongs to the index that takes the uploads" in sentence


def test_a_place_that_takes_no_uploads_is_named(
    only_devpi: LocalIndex, refused: Refused, tmp_path: Path
) -> None:
    wrong = LocalIndex(only_devpi.upload_url + "nowhere/", only_devpi.simple_url)
    sentence = refusal(refused, at(wrong, tmp_path))
    assert "nothing takes uploads at the address of pypi; correct `repository` in [pypi]" in sentence


@contextmanager
def breaking(url: str, after: int, connections: Callable[[int], bool]) -> Iterator[str]:
    """A way to the server that is cut after so many bytes, on the connections chosen by number."""
    target = urlsplit(url)
    ends = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)

    def pump(source: socket.socket, sink: socket.socket, limit: int) -> None:
        try:
            while limit > 0 and (data := source.recv(min(4096, limit))):
                sink.sendall(data)
                limit -= len(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def accept() -> None:
        threads: list[threading.Thread] = []
        sockets: list[socket.socket] = []
        for number in itertools.count():
            while not ends.is_set():
                try:
                    client, _ = listener.accept()
                    break
                except TimeoutError:
                    continue
            if ends.is_set():
                break
            server = socket.create_connection((target.hostname or "", target.port or 0))
            limit = after if connections(number) else 1 << 40
            sockets += [client, server]
            for arguments in ((client, server, limit), (server, client, 1 << 40)):
                threads.append(threading.Thread(target=pump, args=arguments))
                threads[-1].start()
        for end in sockets:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in threads:
            thread.join()
        for end in sockets:
            end.close()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}{target.path}"
    finally:
        ends.set()
        acceptor.join()
        listener.close()


def test_every_problem_that_the_guide_lists_is_one_that_the_tool_names(
    request: pytest.FixtureRequest,
) -> None:
    root = request.config.rootpath
    table = (root / "docs" / "publishing.md").read_text().partition("## Common problems")[2]
    named = [words for row in re.findall(r"^\| (.+?) \| ", table, re.MULTILINE) for words in quoted(row)]
    code = "\n".join(path.read_text() for path in (root / "release").glob("*.py"))
    said = re.sub(r'"\s*\n\s*f?"', "", code)  # strings that go on in the next line
    assert len(named) > 15
    assert [words for words in named if words not in said] == []


def quoted(row: str) -> list[str]:
    """What stands in backticks, in pieces where it has an ellipsis."""
    return [piece.strip() for words in re.findall(r"`([^`]+)`", row) for piece in words.split("...") if piece]


@pytest.mark.parametrize("after", [300, 3000])
def test_an_interrupted_upload_is_named_and_safe_to_repeat(
    server: LocalIndex, project: Project, tmp_path: Path, after: int
) -> None:
    artefacts = made(project)
    with breaking(server.upload_url, after, lambda number: True) as url:
        sentence = refusal(Refused(project, artefacts), at(LocalIndex(url, server.simple_url), tmp_path))
    assert "was interrupted" in sentence
    assert "run the same command again, which sends only what is missing" in sentence
    where = at(server, tmp_path)
    upload.upload(project, where, artefacts[:1])  # as if the first file had arrived before
    assert upload.upload(project, where, artefacts) == [artefacts[1].name]
    held = index.files(where, project.name)
    assert all(index.holds(held[path.name], path, where) for path in artefacts)
