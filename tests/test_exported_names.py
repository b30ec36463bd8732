"""The public names: those of the contract, all of them there, none of them missing from `__all__`."""

from __future__ import annotations

import importlib
from importlib.metadata import version
from pathlib import Path

import pytest

import edge_mlops_monitor

# Modules that a program may import from, and what they promise.
PROMISED = {
    "edge_mlops_monitor": ["EdgeMonitor", "__version__", "load_config", "save_default_config"],
    "edge_mlops_monitor.drift": ["METHODS", "compare", "detector"],
    "edge_mlops_monitor.performance": [
        "calibration",
        "estimate",
        "estimate_error",
        "realised_classification",
        "realised_regression",
    ],
    "edge_mlops_monitor.system": ["COLLECTORS", "SystemSampler"],
    "edge_mlops_monitor.telemetry.sinks": ["SINKS"],
}


def modules_with_all() -> list[str]:
    """Every module of the package that declares what it exports."""
    root = Path(edge_mlops_monitor.__file__).parent
    found = []
    for path in sorted(root.rglob("*.py")):
        if "\n__all__ = " in path.read_text():
            parts = path.relative_to(root.parent).with_suffix("").parts
            found.append(".".join(parts).removesuffix(".__init__"))
    return found


@pytest.mark.parametrize("module", PROMISED)
def test_what_was_promised_is_exported(module: str) -> None:
    exported = importlib.import_module(module)
    assert [name for name in PROMISED[module] if not hasattr(exported, name)] == []
    assert [name for name in PROMISED[module] if name not in exported.__all__] == []


@pytest.mark.parametrize("module", modules_with_all())
def test_what_is_in_all_exists(module: str) -> None:
    exported = pytest.importorskip(module, reason="needs an extra", exc_type=ImportError)
    assert [name for name in exported.__all__ if not hasattr(exported, name)] == []
    assert len(exported.__all__) == len(set(exported.__all__))


def test_the_package_exports_these_names_and_no_others() -> None:
    assert sorted(edge_mlops_monitor.__all__) == sorted(PROMISED["edge_mlops_monitor"])
    assert set(edge_mlops_monitor.__all__) <= set(dir(edge_mlops_monitor))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'EdgeMonitr'"):
        edge_mlops_monitor.EdgeMonitr  # noqa: B018


def test_the_version_comes_from_one_place() -> None:
    assert version("edge-mlops-monitor") == edge_mlops_monitor.__version__


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(edge_mlops_monitor.__file__).parent / "py.typed").exists()
