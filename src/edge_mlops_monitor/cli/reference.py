"""`reference build` and `reference show`: what the data looked like when all was well."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_mlops_monitor.cli.columns import column_options, selection
from edge_mlops_monitor.cli.options import config_option, json_option
from edge_mlops_monitor.cli.output import feature_name, number, print_json, say
from edge_mlops_monitor.cli.progress import shares

if TYPE_CHECKING:
    from edge_mlops_monitor.drift.reference import FeatureReference


@click.group()
def reference() -> None:
    """Build a reference from training data, or show one."""


@reference.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, metavar="REF", help="File to write."
)
@column_options
@click.option(
    "--context",
    default="",
    metavar="NAME",
    help="What normal depends on: hour_of_day, or a column; rows are then held against their own context.",
)
@click.option("--raw", is_flag=True, help="Keep the raw values too, which algorithm: ks_test needs.")
@config_option
@json_option
def build(
    data: Path, output: Path, context: str, raw: bool, config_path: Path | None, as_json: bool, **columns: Any
) -> None:
    """Profile recorded DATA into the reference file REF.

    DATA is CSV, JSON Lines or Parquet, also compressed (.gz). The rows must be in the order of time.
    """
    from edge_mlops_monitor import replay
    from edge_mlops_monitor.drift.reference_file import dump

    with shares(f"reading {data.name}") as progress:
        features = replay.build_reference(
            data, selection(columns), keep_values=raw, context=context, progress=progress
        )
    part = output.with_name(f"{output.name}.part")
    try:
        part.write_text(dump(features), encoding="utf-8")
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)
    _show(features, as_json, {"path": str(output)})
    if not as_json:
        say(f"wrote {output}")


@reference.command()
@click.argument("ref", type=click.Path(path_type=Path))
@config_option
@json_option
def show(ref: Path, config_path: Path | None, as_json: bool) -> None:
    """Show what the reference file REF holds."""
    from edge_mlops_monitor.drift.reference_file import load

    _show(load(ref), as_json, {"path": str(ref)})


def _show(features: list[FeatureReference], as_json: bool, about: dict[str, Any]) -> None:
    if as_json:
        alone = [_summary(feature) for feature in features if feature.pairs is None]
        joint = [_joint_summary(feature) for feature in features if feature.pairs is not None]
        print_json({**about, "features": alone, "joint": joint})
    else:
        say(_table(features))


def _stream(feature: FeatureReference) -> dict[str, Any]:
    return {"model": feature.model, "model_version": feature.model_version, "source": feature.source}


def _joint_summary(joint: FeatureReference) -> dict[str, Any]:
    """How the numeric features of a stream go together."""
    return {
        **_stream(joint),
        "features": joint.pairs.names if joint.pairs is not None else [],
        "rows": joint.n,
        "independent_rows": joint.effective_rows,
        "lacks": joint.lacks or None,
    }


def _summary(feature: FeatureReference) -> dict[str, Any]:
    return {
        "feature": feature.name,
        **_stream(feature),
        "kind": "number" if feature.numeric else "category",
        "rows": feature.n,
        "independent_rows": feature.effective_rows,
        "missing": feature.counts[-1],
        "mean": feature.mean,
        "sd": feature.sd,
        "bins": len(feature.counts),
        "raw_values": feature.values is not None,
        "context": feature.context or None,
        "contexts": sorted(feature.contexts),
        "estimated_by": None if feature.estimator is None else feature.estimator.get("method"),
        "lacks": feature.lacks or None,
    }


def _table(features: list[FeatureReference]) -> str:
    """One line for each feature, and below a sentence for each that is not enough."""
    lines = [f"{'feature':30}{'rows':>9}{'worth':>9}{'missing':>9}{'mean':>12}{'sd':>11}"]
    for feature in features:
        name = _name(feature)
        other = "category" if feature.pairs is None else f"{len(feature.pairs.names)} features"
        moments = f"{feature.mean:>12.4g}{feature.sd:>11.4g}" if feature.mean is not None else f"{other:>23}"
        missing = f"{feature.counts[-1] / feature.n:.1%}" if feature.n and feature.counts[-1] else "0"
        worth = number(round(feature.effective_rows))
        contexts = f"  by {feature.context} ({len(feature.contexts)})" if feature.context else ""
        lines.append(f"{name:30}{number(feature.n):>9}{worth:>9}{missing:>9}{moments}{contexts}")
    lacking = [f"{_name(feature)}: {feature.lacks}" for feature in features if feature.lacks]
    closing = ["", "worth: so many independent rows, since rows that follow each other are alike."]
    return "\n".join([*lines, *closing, *lacking])


def _name(feature: FeatureReference) -> str:
    return feature_name(feature.model, feature.model_version, feature.source, feature.name, most=31)
