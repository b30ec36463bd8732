"""Writes the tables of the reference that are made from the code, between their markers in the documents.

    python docs/tables.py

What a key, a metric or a field means is said once, where the code declares it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import griffe
import msgspec

from edge_mlops_monitor.config import SECTIONS
from edge_mlops_monitor.config.checking import allowed, declared, plain
from edge_mlops_monitor.config.sections import Section
from edge_mlops_monitor.config.template import description
from edge_mlops_monitor.records import KINDS, Record
from edge_mlops_monitor.system import COLLECTORS, Collector
from edge_mlops_monitor.system.sampler import PORTABLE
from edge_mlops_monitor.telemetry.encoding import CONTENT_TYPE, LAYOUT, ObjectKey

DOCS = Path(__file__).resolve().parent
JSON = {  # annotation without `| None`: what stands in the line
    "float": "number",
    "int": "integer",
    "str": "text",
    "bool": "true or false",
    "Any": "anything",
    "dict[str, Any]": "object",
    "dict[str, str]": "object of texts",
    "dict[str, list[int]]": "object of lists of integers",
    "list[str]": "list of texts",
    "list[int]": "list of integers",
    "list[float]": "list of numbers",
}


def table(*rows: tuple[str, ...]) -> str:
    """Rows, the first of which is the head, as Markdown.

    >>> print(table(("a", "b"), ("1", "x|y")))
    | a | b |
    | --- | --- |
    | 1 | x\\|y |
    """
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


# - the config -


def keys() -> str:
    """Every key of every section of the config."""
    return "\n\n".join(
        f"### `{name}`\n\n{cls.title}\n\n{table(('key', 'default', 'takes', 'meaning'), *_keys(cls))}"
        for name, cls in SECTIONS.items()
    )


def _keys(section: type[Section]) -> Iterator[tuple[str, ...]]:
    defaults = section()
    for key, annotation in declared(section).items():
        default = getattr(defaults, key)
        spelled = "`{}`" if default == {} else "empty" if default in (None, "") else f"`{plain(default)}`"
        yield f"`{key}`", spelled, allowed(annotation), description(annotation)


# - the metrics -


def metrics() -> str:
    """Every collector: what it reads, and what it reports. (The portable one reports what the others do.)"""
    return "\n\n".join(_collector(name, COLLECTORS[name]) for name in COLLECTORS if name != PORTABLE)


def _collector(name: str, cls: type[Collector]) -> str:
    head = f"### `{name}`\n\nReads {listed(cls.reads)}."
    rows = [
        (
            f"`{metric}`",
            f"`{it.unit}`",
            it.kind,
            "<br>".join([it.description, *map("`{}`".format, it.attributes)]),
        )
        for metric, it in cls.instruments.items()
    ]
    return f"{head}\n\n{table(('metric', 'unit', 'kind', 'what it is, and its attributes'), *rows)}"


def listed(names: tuple[str, ...]) -> str:
    """Names as code, separated by commas."""
    return ", ".join(f"`{name}`" for name in names)


# - the objects -


def key_layout() -> str:
    """How the key of an object is made up, and what kind of file is there."""
    pattern, told = re.sub(r":\w+\}", "}", LAYOUT), meanings(ObjectKey)
    parts = [(f"`{part}`", told[part]) for part in re.findall(r"(\w+)\}", pattern)]
    kind_of_file = f"The content type is `{CONTENT_TYPE}`, without a content encoding."
    return f"```text\n{pattern}\n```\n\n{table(('part', 'what it is'), *parts)}\n\n{kind_of_file}"


def envelope() -> str:
    """The fields of every kind."""
    return fields(Record, Record.__struct_fields__)


def kind(name: str) -> str:
    """The fields of one kind, without those of every kind."""
    own = [field for field in KINDS[name].__struct_fields__ if field not in Record.__struct_fields__]
    return fields(KINDS[name], own)


def fields(cls: type[msgspec.Struct], names: Any) -> str:
    """Fields of a class of records: type, whether it may be null, meaning."""
    module = MODULES[cls.__module__]
    told = meanings(cls)
    rows = []
    for name in names:
        owner = next(base for base in cls.__mro__ if name in base.__annotations__)
        spelled = str(module[owner.__name__][name].annotation)
        annotation = spelled.removesuffix(" | None")
        null = "yes" if annotation != spelled or annotation == "Any" else ""
        rows.append((f"`{name}`", JSON[annotation], null, told[name]))
    return table(("field", "type", "null", "what it is"), *rows)


def meanings(cls: type[msgspec.Struct]) -> dict[str, str]:
    """What is said of each field in the code, below it."""
    classes = [base.__name__ for base in reversed(cls.__mro__) if base.__module__ == cls.__module__]
    module = MODULES[cls.__module__]
    found = [member for name in classes for member in module[name].members.values()]
    return {one.name: " ".join(one.docstring.value.split()) for one in found if one.docstring}


MODULES = {
    name: griffe.load(name, search_paths=[DOCS.parent / "src"])
    for name in (Record.__module__, ObjectKey.__module__)
}
TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "configuration.md": {"keys": keys},
    "system-metrics.md": {"metrics": metrics},
    "object-schema.md": {
        "key": key_layout,
        "every kind": envelope,
        **{name: partial(kind, name) for name in KINDS},
    },
}


def written(document: str, text: str) -> str:
    """The text of a document with its tables as the code has them now."""
    for name, made in TABLES[document].items():
        begin, end = f"<!-- {name}: made by docs/tables.py -->", f"<!-- end of {name} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise LookupError(f"{document} lacks the lines {begin} and {end}")
        text = f"{before}{begin}\n\n{made()}\n\n{end}{after}"
    return text


if __name__ == "__main__":
    for name in TABLES:
        page = DOCS / name
        page.write_text(written(name, page.read_text(encoding="utf-8")), encoding="utf-8")
