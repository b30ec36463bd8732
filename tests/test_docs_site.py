"""The documentation site: built strictly, without network, whole, readable offline; every block runs."""

from __future__ import annotations

import configparser
import html
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any

import pytest
import yaml
from release import pypirc

from bucket_on_loopback import Bucket, environment, free_port, keys_under, policies_in_force, s3_server
from edge_mlops_monitor import EdgeMonitor
from edge_mlops_monitor.cli import main as cli
from edge_mlops_monitor.config import Config
from edge_mlops_monitor.drift import METHODS
from edge_mlops_monitor.records import KINDS
from edge_mlops_monitor.system import COLLECTORS
from edge_mlops_monitor.telemetry.sinks import SINKS
from test_docs_links_and_examples import Block, blocks, lacking

for module in ("mkdocs", "material", "mkdocstrings"):
    pytest.importorskip(module, reason="the documentation tools are not installed")

PROJECT = Path(__file__).resolve().parents[1]
DOCS = PROJECT / "docs"
DOCUMENTS = {path.relative_to(PROJECT).as_posix(): path for path in sorted(DOCS.rglob("*.md"))}
ROOT_DOCUMENTS = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "examples/README.md")
DOCUMENTS |= {name: PROJECT / name for name in ROOT_DOCUMENTS}
BLOCKS = [(name, block) for name, path in DOCUMENTS.items() for block in blocks(path.read_text())]
S3_GUIDE = "docs/guides/s3.md"
SESSIONS = ["docs/guides/onnx-to-s3.md", "docs/guides/web-service.md"]


class Page(HTMLParser):
    """What a page links to, and what a browser loads to show it."""

    LOADED = (("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("object", "data"))
    LINKED = frozenset(
        {"stylesheet", "icon", "preload", "preconnect", "dns-prefetch", "manifest", "prefetch"}
    )

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.classes: set[str] = set()
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids.add(given.get("id", ""))
        self.classes |= set(given.get("class", "").split())
        if tag == "a" and "href" in given:
            self.links.add(given["href"])
        if tag == "link" and self.LINKED & set(given.get("rel", "").split()):
            self.loads.append(given["href"])
        self.loads += [given[key] for name, key in self.LOADED if tag == name and key in given]
        self.loads += [part.split()[0] for part in given.get("srcset", "").split(",") if part.strip()]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does, with nothing but a dead proxy between us and the network."""
    folder = tmp_path_factory.mktemp("site")
    dead = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command,
        cwd=PROJECT,
        env={**os.environ, **dead, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    return {path.relative_to(site).as_posix(): Page(path) for path in site.rglob("*.html")}


def test_make_docs_builds_strictly() -> None:
    recipe = re.search(r"^docs:.*\n\t(.*)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert recipe
    assert "mkdocs build --strict" in recipe[1]
    assert "quiet" not in recipe[1], "it would keep the warnings from failing"


def test_every_document_is_a_page(pages: dict[str, Page]) -> None:
    wanted = {
        "README.html" if path.name == "README.md" else path.with_suffix(".html").name
        for path in DOCS.rglob("*.md")
        if path.name != "README.md"
    }
    assert wanted <= {PurePosixPath(name).name for name in pages}
    own = {"contributing", "changelog", "security", "code-of-conduct", "license"}
    assert {f"project/{name}.html" for name in own} <= set(pages)
    assert {"decisions/index.html", "examples/onnx_to_s3.py.html", "examples/web_service.yaml.html"} <= set(
        pages
    )


def test_every_page_can_be_reached_from_the_first(pages: dict[str, Page]) -> None:
    reached, waiting = {"index.html"}, ["index.html"]
    while waiting:
        here = waiting.pop()
        for link in pages[here].links:
            target = link.partition("#")[0]
            if not target or re.match(r"[a-z]+:", target):
                continue
            there = normpath(str(PurePosixPath(here).parent / target))
            if there in pages and there not in reached:
                reached.add(there)
                waiting.append(there)
    assert set(pages) - reached == {"404.html"}


def test_links_within_the_site_lead_to_a_file_and_an_anchor(pages: dict[str, Page], site: Path) -> None:
    broken = []
    for name, page in pages.items():
        for link in page.links if name != "404.html" else ():
            target, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", target) or link in ("", "#"):
                continue
            there = normpath(str(PurePosixPath(name).parent / target)) if target else name
            known = there in pages and (not anchor or anchor in pages[there].ids)
            if not known and not (not anchor and (site / there).is_file()):
                broken.append(f"{name}: {link}")
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(pages: dict[str, Page], site: Path) -> None:
    elsewhere = re.compile(r"(?:https?:)?//")
    loaded = [f"{name}: {url}" for name, page in pages.items() for url in page.loads if elsewhere.match(url)]
    for path in [*site.rglob("*.css"), *site.rglob("*.svg"), *(site / name for name in pages)]:
        text = path.read_text(encoding="utf-8")
        found = re.findall(
            r"(?:url\(\s*['\"]?|@import\s+['\"]|<image[^>]*href=['\"])((?:https?:)?//[^'\")]*)", text
        )
        loaded += [f"{path.name}: {url}" for url in found]
    assert loaded == []
    # What the theme's script would fetch of its own accord: diagrams, and figures of a repository.
    assert [name for name, page in pages.items() if "mermaid" in page.classes] == []
    assert [name for name, page in pages.items() if 'data-md-component="source"' in page.text] == []


def test_what_is_loaded_is_there(pages: dict[str, Page], site: Path) -> None:
    missing = [
        f"{name}: {url}"
        for name, page in pages.items()
        for url in page.loads
        if name != "404.html" and not url.startswith("data:")
        if not (site / normpath(str(PurePosixPath(name).parent / url.partition("?")[0]))).is_file()
    ]
    assert missing == []


def test_the_search_knows_every_page_and_works_from_a_folder(pages: dict[str, Page], site: Path) -> None:
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    known = {entry["location"].partition("#")[0] for entry in json.loads(index.partition("=")[2])["docs"]}
    assert set(pages) - known <= {"404.html"}


def test_the_python_reference_is_complete(pages: dict[str, Page]) -> None:
    ids = set().union(*(page.ids for page in pages.values()))
    parts = [registry[name] for registry in (METHODS, SINKS, COLLECTORS) for name in registry]
    wanted = [f"{cls.__module__}.{cls.__qualname__}" for cls in parts]
    methods = [name for name, _ in inspect.getmembers(EdgeMonitor, callable) if not name.startswith("_")]
    wanted += [f"{EdgeMonitor.__module__}.EdgeMonitor.{name}" for name in methods]
    assert len(methods) > 20
    assert [name for name in wanted if name not in ids] == []


def test_the_reference_of_records_has_every_field(pages: dict[str, Page]) -> None:
    shown = re.findall(r"<code[^>]*>(?:<[^>]+>)*(\w+)<", pages["reference/records.html"].text)
    assert [name for cls in KINDS.values() for name in cls.__struct_fields__ if name not in shown] == []


def test_the_reference_of_commands_has_what_the_program_says_of_each(pages: dict[str, Page]) -> None:
    shown = re.sub(r"<[^>]+>", "", pages["commands.html"].text)
    for words in ([], ["replay"], ["reference", "build"]):
        printed = subprocess.run(
            [sys.executable, "-m", "edge_mlops_monitor", *words, "--help"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            env={**os.environ, "COLUMNS": "80"},
        ).stdout
        lines = [line.strip() for line in printed.splitlines() if line.strip().startswith("--")]
        assert lines
        assert [line for line in lines if html.escape(line, quote=False) not in shown] == []


def test_examples_in_docstrings_are_shown_as_code(pages: dict[str, Page]) -> None:
    quoted = [name for name, page in pages.items() if re.search(r"<blockquote>\s*<blockquote>", page.text)]
    assert quoted == []
    assert "&gt;&gt;&gt;" in pages["reference/monitor.html"].text


def test_marks_for_the_tests_are_not_shown(pages: dict[str, Page]) -> None:
    assert [
        name for name, page in pages.items() if re.search(r"```|<p>\s*(python|console) run", page.text)
    ] == []


# - every block -


def of(language: str, *, without: str = "") -> list[Any]:
    found = [(name, block) for name, block in BLOCKS if block.words[0] == language and name not in without]
    return [pytest.param(name, block, id=f"{name}:{block.line}") for name, block in found]


RUN_BY_OTHERS = {  # documents whose unmarked blocks another test takes
    "docs/configuration.md": "test_docs_tables.py",
    "docs/object-schema.md": "test_telemetry_delivery.py",
    "docs/publishing.md": "test_release*.py",
    "CONTRIBUTING.md": "test_contributing.py",
}
TYPED_ELSEWHERE = re.compile(  # by whoever runs these tests, or by the rehearsal of a release
    r"(make [a-z-]+|edge-mlops-monitor demo|edge-mlops-monitor check --config config\.yaml)( +#.*)?$"
)


def test_there_are_blocks_of_each_sort() -> None:
    sorts = {block.words[0] for _, block in BLOCKS}
    assert {"python", "console", "yaml", "json", "sql", "ini"} <= sorts
    assert sorts <= {"python", "console", "yaml", "json", "sql", "ini", "text", "sh"}
    assert len(BLOCKS) > 50


@pytest.mark.parametrize(("name", "block"), of("python") + of("console"))
def test_a_block_that_is_not_run_as_it_stands_is_run_by_another_test(name: str, block: Block) -> None:
    if {"run", "s3"} & set(block.words[1:]) or name in SESSIONS:
        return
    if name in RUN_BY_OTHERS:
        assert list((PROJECT / "tests").glob(RUN_BY_OTHERS[name]))
        return
    assert block.words[0] == "console", "mark it `run`"
    for line in re.findall(r"^\$ (.+)$", block.text, re.MULTILINE):
        if not TYPED_ELSEWHERE.match(line):
            assert_installs(line)


def assert_installs(line: str) -> None:
    """A command of pip that names extras of ours, and other packages, which the tests themselves use."""
    words = shlex.split(line)
    assert words[:2] == ["pip", "install"], f"{line}: mark the block `run`"
    tomllib = pytest.importorskip("tomllib", reason="comes with Python 3.11")
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    ours = [re.fullmatch(r"edge-mlops-monitor(?:\[([\w,]+)\])?", word) for word in words[2:]]
    named = [extra for found in ours if found and found[1] for extra in found[1].split(",")]
    assert [extra for extra in named if extra not in extras] == []
    others = [word for word, found in zip(words[2:], ours, strict=True) if not found and word[0] != "-"]
    known = {re.split(r"[\[<>=;]", requirement)[0] for requirement in extras["dev"]}
    assert [word for word in others if word.partition("[")[0] not in known] == []


@pytest.mark.parametrize(("name", "block"), of("text"))
def test_a_text_is_one_that_a_test_compares(name: str, block: Block) -> None:
    assert "printed" in block.words or name in RUN_BY_OTHERS, "mark it `printed`, below what prints it"


@pytest.mark.parametrize(("name", "block"), of("yaml"))
def test_a_config_is_a_config(name: str, block: Block) -> None:
    Config.from_dict(yaml.safe_load(block.text))


@pytest.mark.parametrize(("name", "block"), of("json"))
def test_json_is_json(name: str, block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize(("name", "block"), of("ini"))
def test_a_unit_of_systemd_starts_a_command_that_there_is(name: str, block: Block, tmp_path: Path) -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(block.text)
    if name == "docs/publishing.md":  # a .pypirc, which the release tool accepts
        assert unit.sections() == ["testpypi", "pypi"]
        file = tmp_path / ".pypirc"
        file.write_text(block.text)
        file.chmod(0o600)
        for repository in unit.sections():
            pypirc.check(file, repository)
        return
    _, command, *options = shlex.split(unit["Service"]["ExecStart"])
    assert cli([command, "--help"]) == 0
    assert options[0] == "--config"
    assert unit["Service"]["Type"] == "notify"


@pytest.mark.parametrize(("name", "block"), of("sh"))
def test_settings_from_the_environment_are_those_that_are_read(name: str, block: Block) -> None:
    for line in block.text.splitlines():
        section, _, key = line.partition("=")[0].removeprefix("EDGE_MLOPS_MONITOR__").lower().partition("__")
        field = getattr(Config(), section)
        assert not key or isinstance(field, dict) or hasattr(field, key)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    for needed in ("moto.server", "boto3", "duckdb", "obstore"):
        pytest.importorskip(needed, reason=f"{needed} is not installed")
    with s3_server() as url:
        yield url


def test_the_guide_to_s3_works_against_a_bucket_with_the_rights_that_it_names(
    tmp_path: Path, s3: str
) -> None:
    bucket = Bucket(s3, "my-bucket", tmp_path)
    [policy] = [block.text for name, block in BLOCKS if name == S3_GUIDE and block.words[0] == "json"]
    keys = keys_under(policy, s3)
    settings = {"bucket": bucket.name, "prefix": "factory-7/", "endpoint_url": s3}
    overrides = {f"EDGE_MLOPS_MONITOR__STORAGE__{key.upper()}": value for key, value in settings.items()}
    printed = ""
    for name, block in BLOCKS:
        if name != S3_GUIDE or "s3" not in block.words[1:]:
            continue
        bucket.download()
        with policies_in_force(s3):
            printed += session(session_script([block]), tmp_path, **overrides, **keys)
    assert "sink s3: it can be reached" in printed
    assert re.search(r"│\s+200 │\s+0 │", printed), "200 predictions, none missing"


@pytest.mark.parametrize("name", SESSIONS)
def test_the_guide_of_an_example_works_as_typed(name: str, tmp_path: Path) -> None:
    """All blocks in one shell, on free ports; `curl` waits for a server that starts."""
    for needed in ("moto.server", "boto3", "duckdb", "sklearn", "skl2onnx", "onnxruntime", "uvicorn"):
        pytest.importorskip(needed, reason=f"{needed} is not installed")
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    shutil.copytree(PROJECT / "examples", tmp_path / "examples")
    script = session_script([block for document, block in BLOCKS if document == name])
    # The command that goes to Amazon comes again, with the address of a server on this machine.
    script = script.replace("python examples/onnx_to_s3.py --bucket my-bucket\n", "")
    script = re.sub(r"\b(9000|8000)\b", lambda found: str(PORTS.setdefault(found[1], free_port())), script)
    printed = session(script, tmp_path)
    said = [block for document, block in BLOCKS if document == name and "printed" in block.words]
    assert said
    assert [line for block in said for line in lacking(block, printed)] == [], printed
    if name.endswith("web-service.md"):
        assert '"durable":true' in printed
        assert '"prediction_count":1' in printed
    else:
        assert re.search(r"records in \d+ objects, 0 objects wait; errors?: none", printed)


PORTS: dict[str, int] = {}
PRELUDE = """
set -eo pipefail
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
curl() { command curl --silent --fail --retry 200 --retry-delay 1 --retry-connrefused "$@"; echo; }
pip() { :; }
aws() { python -c 'import boto3, pathlib, sys
s3 = boto3.client("s3", endpoint_url=sys.argv[1], region_name="us-east-1",
                  aws_access_key_id="a", aws_secret_access_key="b")
for listed in s3.list_objects_v2(Bucket="my-bucket", Prefix="v1/")["Contents"]:
    target = pathlib.Path(listed["Key"])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(s3.get_object(Bucket="my-bucket", Key=listed["Key"])["Body"].read())
' http://127.0.0.1:9000; }
"""


def session_script(found: list[Block]) -> str:
    """The blocks as one script of bash; lines without a prompt go on with the command above them."""
    parts = [PRELUDE]
    for block in found:
        if block.words[0] == "console":
            parts.append(re.sub(r"^\$ ", "", block.text, flags=re.MULTILINE))
        elif block.words[0] == "python":
            parts.append(f"python - <<'END OF BLOCK'\n{block.text}END OF BLOCK\n")
    return "\n".join(parts)


def session(script: str, folder: Path, **more: object) -> str:
    """What a script prints, run with our Python and a home of its own."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    known = environment(PATH=path, HOME=folder / "home", PYTHONUNBUFFERED="1", **more)
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=known, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


# - pictures -


def shown(path: Path) -> list[str]:
    """The lines of text of a picture that rich drew, the texts of one that we drew."""
    rows: dict[str, str] = {}
    pattern = r'<text class="(?!title)[^"]*"[^>]*clip-path="url\(#([^"]+)\)"[^>]*>([^<]*)</text>'
    for line, text in re.findall(pattern.replace("(?!title)", ""), path.read_text(encoding="utf-8")):
        rows[line] = rows.get(line, "") + text.replace("&#160;", " ")
    texts = rows.values() or re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text(encoding="utf-8"))
    return [text.rstrip() for text in texts]


def test_the_pictures_of_the_guides_are_what_the_program_prints_today(tmp_path: Path) -> None:
    command = [sys.executable, str(DOCS / "screens.py"), "--output", str(tmp_path)]
    subprocess.run(command, check=True, timeout=250)
    made = {path.name: path for path in tmp_path.glob("*.svg")}
    assert {path.name for path in (DOCS / "images").glob("*.svg")} == {*made, "demo.svg", "demo-live.svg"}
    for name, path in made.items():
        now, kept = (first_words(shown(found)) for found in (path, DOCS / "images" / name))
        assert len(now) > 3
        assert now == kept, f"run: {Path(sys.executable).name} docs/screens.py"


def test_the_pictures_of_the_demo_are_what_it_shows_today(tmp_path: Path) -> None:
    command = [sys.executable, str(DOCS / "pictures.py"), "--output", str(tmp_path), "--seconds", "5"]
    subprocess.run(command, check=True, timeout=250)
    for name in ("demo.svg", "demo-live.svg"):
        now, kept = (labels(shown(folder / name)) for folder in (tmp_path, DOCS / "images"))
        assert len(now) > 8
        assert now == kept, f"run: {Path(sys.executable).name} docs/pictures.py"


def labels(lines: list[str]) -> set[str]:
    """The word that each line begins with, behind what frames it."""
    return {found[1] for line in lines if (found := re.match(r"[│╭─ ]*([A-Za-z_]+)", line))}


def first_words(lines: list[str]) -> set[str]:
    """What does not depend on the machine: the first words of lines that are not continued ones."""
    found = {" ".join(line.split()[:2]) for line in lines if line and not line.startswith(" ")}
    return {re.sub(r"\d.*", "", words) for words in found} - {"warn clock:", "ok clock:", "note clock:"}


def test_every_picture_is_shown_and_described() -> None:
    shown = {
        Path(target).name: alt
        for path in [*DOCUMENTS.values(), PROJECT / "README.md"]
        for alt, target in re.findall(r"!\[([^\]]*)\]\(([^)]+\.svg)\)", path.read_text())
    }
    assert set(shown) == {path.name for path in (DOCS / "images").glob("*.svg")}
    assert all(len(alt) > 20 for alt in shown.values())


@pytest.mark.parametrize("name", ["build_hooks.py", "docstring_blocks.py", "tables.py"])
def test_the_examples_in_the_tools_of_the_site_run(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "doctest", str(DOCS / name)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "")
