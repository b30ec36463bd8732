"""Makes code blocks of the parts of docstrings that are laid out: examples with `>>>`, trees, programs."""

from __future__ import annotations

import re
from typing import Any

import griffe


def fenced(text: str) -> str:
    """The text with its examples and drawings as fenced blocks.

    >>> fenced("One.\\n\\n>>> 1 + 1\\n2\\n\\nTwo.")
    'One.\\n\\n```pycon\\n>>> 1 + 1\\n2\\n```\\n\\nTwo.'
    """
    return "\n\n".join(map(_fenced, re.split(r"\n[ \t]*\n", text)))


def _fenced(paragraph: str) -> str:
    if paragraph.lstrip().startswith(">>> "):
        return f"```pycon\n{paragraph}\n```"
    return f"```text\n{paragraph}\n```" if "── " in paragraph else paragraph


class DocstringBlocks(griffe.Extension):
    """Applied to each object of the package that has a docstring."""

    def on_class_members(self, *, cls: griffe.Class, **more: Any) -> None:
        """Make one table of what stands below the fields of a class."""
        fields = [member for member in cls.members.values() if member.is_attribute and member.docstring]
        if cls.docstring and fields:
            told = [f"    {one.name}: {one.docstring.value}" for one in fields if one.docstring]
            cls.docstring.value += "\n\nAttributes:\n" + "\n".join(told)
            for one in fields:
                one.docstring = None

    def on_object(self, *, obj: griffe.Object, **more: Any) -> None:
        """Rewrite the docstring in place."""
        if obj.docstring:
            obj.docstring.value = fenced(obj.docstring.value)
