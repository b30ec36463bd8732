"""docs/drift-methods.md names every method of the registry, with its parameters and their defaults."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_mlops_monitor import drift

PAGE = Path(__file__).resolve().parents[1] / "docs" / "drift-methods.md"
ROWS = dict(re.findall(r"^\| `(\w+)` \| (.*(?:19|20)\d\d) \|$", PAGE.read_text(), re.MULTILINE))


def test_the_page_has_every_method_and_no_other() -> None:
    assert set(ROWS) == set(drift.METHODS), "add the method to the table of docs/drift-methods.md"


@pytest.mark.parametrize("name", sorted(ROWS))
def test_the_page_has_each_methods_parameters_and_defaults(name: str) -> None:
    said = re.findall(r"`(\w+)(?:=([^`]*))?`", ROWS[name].split(" | ")[-2])
    known = [
        (key, "" if default is ... else repr(default).replace("'", '"'))
        for key, default in drift.parameters(name).items()
    ]
    assert said == known


@pytest.mark.parametrize("name", sorted(ROWS))
def test_each_methods_docstring_has_its_source_and_an_example(name: str) -> None:
    cls = drift.METHODS[name]
    text = (cls.__doc__ or "") + (__import__(cls.__module__, fromlist=["x"]).__doc__ or "")
    assert ">>> " in text
    assert re.search(r"(19|20)\d\d", text), "a source has a year"
