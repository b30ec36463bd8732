"""The import rule of docs/architecture.md: down only, never sideways between parts, never up.

The layers are read from the document, so that it cannot lie. Imports inside functions count, and so do
`import_module("name")` and the "package.module:Class" strings by which registries import.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from edge_mlops_monitor import _HOMES

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = "edge_mlops_monitor"
REFERENCE = re.compile(rf"{PACKAGE}(\.\w+)+(:\w+)?")
SOURCE = PROJECT / "src" / PACKAGE
FILES = sorted(SOURCE.rglob("*.py"))
LAYERS = ["ground", "checks", "parts", "wiring", "doors"]
SIDEWAYS = {"ground", "wiring", "doors"}  # within these layers modules may know each other

# A third-party package is imported only by the file whose purpose it is.
THIRD_PARTY = {
    "msgspec": [""],  # the one library used everywhere
    "yaml": ["config/"],
    "psutil": ["system/portable.py", "leases.py"],
    "numpy": [
        "drift/",
        "performance/",
        "estimates.py",
        "quality/",
        "profiles/",
        "profiler.py",
        "arrays.py",
        "dataset.py",
        "layout.py",
        "recording.py",
        "training.py",
        "capture/snapshot.py",
        "demo/",
    ],
    "click": ["cli/"],
    "rich": ["cli/", "demo/"],
    "obstore": ["telemetry/sinks/object_store.py"],
    "pyarrow": ["dataset.py"],
    "resvg_py": ["timeline.py"],
}


class Import(NamedTuple):
    """One import: the file it is in, the line, and the dotted module."""

    file: str
    line: int
    module: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def documented_layers() -> dict[str, str]:
    """Layer by top-level module, from the table in docs/architecture.md."""
    text = (PROJECT / "docs" / "architecture.md").read_text()
    layers = {}
    for layer in LAYERS:
        row = re.search(rf"^\| {layer}[^|]*\| (.*?)\|$", text, re.MULTILINE)
        assert row, f"docs/architecture.md has no row for the layer {layer}"
        modules = re.sub(r"\(.*?\)", "", row[1])
        layers.update(dict.fromkeys(re.findall(r"`(\w+)", modules), layer))
    return layers


def imports(path: Path) -> Iterator[Import]:
    file = path.relative_to(SOURCE).as_posix()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno} has a relative import; write the whole name"
            for alias in node.names:
                yield Import(file, node.lineno, f"{node.module}.{alias.name}")
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            if isinstance(node.args[0], ast.Constant):
                yield Import(file, node.lineno, str(node.args[0].value))
        elif isinstance(node, ast.Constant) and REFERENCE.fullmatch(str(node.value)):
            yield Import(file, node.lineno, str(node.value).replace(":", "."))


def own_module(module: str) -> str | None:
    """The top-level module of this package that an import reaches; None for any other package."""
    package, _, rest = module.partition(".")
    name = rest.partition(".")[0]
    if package != PACKAGE or not name:
        return None
    name = _HOMES.get(name, name)
    return name if (SOURCE / name).is_dir() or (SOURCE / f"{name}.py").is_file() else None


IMPORTS = [found for path in FILES for found in imports(path)]


def top(file: str) -> str:
    return file.partition("/")[0].removesuffix(".py")


def test_all_source_files_were_seen() -> None:
    assert len(FILES) == sum(1 for path in SOURCE.glob("**/*") if path.suffix == ".py") > 60
    assert len(IMPORTS) > 300


def test_every_module_has_a_layer() -> None:
    layers = documented_layers()
    modules = {top(path.relative_to(SOURCE).as_posix()) for path in FILES} - {"__init__"}
    assert sorted(modules - set(layers)) == [], "name their layer in the table of docs/architecture.md"
    assert {layers[module] for module in modules} == set(LAYERS)


def test_imports_go_down_only() -> None:
    layers = documented_layers()
    wrong = []
    for found in IMPORTS:
        here, there = top(found.file), own_module(found.module)
        if there is None or here in (there, "__init__"):
            continue
        step = LAYERS.index(layers[there]) - LAYERS.index(layers[here])
        if step > 0 or (step == 0 and layers[here] not in SIDEWAYS):
            wrong.append(f"{found} ({layers[here]} -> {layers[there]})")
    assert wrong == []


def test_nothing_but_the_doors_is_imported_under_the_packages_own_name() -> None:
    public = {f"{PACKAGE}.{name}" for name in _HOMES}
    doors = [name for name, layer in documented_layers().items() if layer == "doors"]
    assert [
        str(found)
        for found in IMPORTS
        if found.module in public and top(found.file) not in (*doors, "__init__")
    ] == []


def third_party() -> Iterator[tuple[Import, str]]:
    for found in IMPORTS:
        package = found.module.partition(".")[0]
        if package != PACKAGE and package not in sys.stdlib_module_names:
            yield found, package


def test_third_party_packages_are_imported_only_where_they_belong() -> None:
    wrong = [
        str(found)
        for found, package in third_party()
        if not any(found.file.startswith(place) for place in THIRD_PARTY.get(package, []))
    ]
    assert wrong == []


@pytest.mark.parametrize("package", THIRD_PARTY)
def test_the_table_of_third_party_packages_names_what_is_used(package: str) -> None:
    users = {found.file for found, used in third_party() if used == package}
    unused = [place for place in THIRD_PARTY[package] if not any(file.startswith(place) for file in users)]
    assert unused == []
