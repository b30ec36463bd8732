"""The tables of the reference are those that the code makes now, and lose nothing on the way."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import edge_mlops_monitor
from edge_mlops_monitor.config import SECTIONS
from edge_mlops_monitor.records import KINDS
from edge_mlops_monitor.system import COLLECTORS

pytest.importorskip("griffe", reason="the documentation tools are not installed")
DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_tables", DOCS / "tables.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["configuration.md", "system-metrics.md", "object-schema.md"])
def test_a_document_holds_the_tables_of_the_code(name: str, tables: ModuleType) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    assert tables.written(name, text) == text, f"run: {Path(sys.executable).name} docs/tables.py"


def test_every_key_metric_and_field_has_a_row(tables: ModuleType) -> None:
    rows = {
        name: set(re.findall(r"^\| `([^`]+)` \|", (DOCS / name).read_text(encoding="utf-8"), re.MULTILINE))
        for name in tables.TABLES
    }
    keys = {key for section in SECTIONS.values() for key in section.__struct_fields__}
    metrics = {metric for name in COLLECTORS for metric in COLLECTORS[name].instruments}
    fields = {field for cls in KINDS.values() for field in cls.__struct_fields__}
    wanted = zip(rows.values(), (keys, metrics, fields), strict=True)
    assert [sorted(names - found) for found, names in wanted] == [[], [], []]


def test_a_table_keeps_what_would_end_a_cell(tables: ModuleType) -> None:
    assert tables.table(("a", "b"), ("1", "x|y")).splitlines()[2] == r"| 1 | x\|y |"


def test_a_document_without_the_markers_is_an_error(tables: ModuleType) -> None:
    with pytest.raises(LookupError, match=r"system-metrics\.md lacks the lines"):
        tables.written("system-metrics.md", "# System metrics\n")


def test_every_reason_for_which_something_is_dropped_is_explained() -> None:
    source = Path(edge_mlops_monitor.__file__).parent
    code = "\n".join(path.read_text(encoding="utf-8") for path in source.rglob("*.py"))
    places = (
        r'dropped\["(\w+)"\] \+=',
        r'  counts\["(\w+)"\] \+=',
        r"counts \+ Counter\((\w+)=",
        r'"(storage_full)"\)',
    )
    reasons = {reason for place in places for reason in re.findall(place, code)}
    table = (DOCS / "concepts" / "durability.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    assert len(reasons) >= 10
    assert reasons == explained
