"""The registry: a name leads to a class, imported when asked for; what is wrong is said with its remedy."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edge_mlops_monitor.errors import MissingExtraError, UnknownNameError
from edge_mlops_monitor.registry import Registry
from programs import run


def test_names_are_listed_without_importing_anything() -> None:
    registry = Registry("part", {"a": "no_such_module:Part", "b": "math:pi"})
    assert list(registry) == ["a", "b"]
    assert len(registry) == 2
    assert "a" in registry
    assert "c" not in registry
    assert "no_such_module" not in sys.modules


def test_an_unknown_name_lists_the_known_and_the_nearest() -> None:
    registry = Registry("sink", {"file": "math:pi", "s3": "math:e"})
    with pytest.raises(UnknownNameError, match=r"unknown sink 'fil'; did you mean 'file'\? known: file, s3"):
        registry["fil"]
    with pytest.raises(ValueError, match="unknown sink 'carrier pigeon'; known: file, s3"):
        registry["carrier pigeon"]
    assert registry.get("s3") is not None


def test_a_missing_extra_gives_the_command() -> None:
    registry = Registry("sink", {"s3": "no_such_module:Sink"}, extras={"s3": "s3"})
    with pytest.raises(MissingExtraError, match=r"pip install 'edge-mlops-monitor\[s3\]'"):
        registry["s3"]
    assert registry.extra("s3") == "s3"


def test_a_part_that_is_broken_is_not_taken_for_a_missing_extra() -> None:
    with pytest.raises(ImportError) as error:
        Registry("part", {"a": "no_such_module:Part"})["a"]
    assert not isinstance(error.value, MissingExtraError)


def test_third_parties_register_through_entry_points(tmp_path: Path) -> None:
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[edge_mlops_monitor.parts]\nours = evil:Part\ntheirs = theirs:Part\n"
    )
    (tmp_path / "theirs.py").write_text("class Part: pass\n")
    text = """
        import sys
        sys.path.insert(0, sys.argv[1])
        from edge_mlops_monitor.registry import Registry
        registry = Registry("part", {"ours": "math:pi"}, group="edge_mlops_monitor.parts")
        assert list(registry) == ["ours", "theirs"], list(registry)
        assert registry["theirs"].__module__ == "theirs"
        assert registry["ours"] > 3, "ours cannot be replaced"
    """
    run(text, tmp_path)
