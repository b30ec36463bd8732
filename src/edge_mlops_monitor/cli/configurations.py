"""`--compare`: other configurations that are replayed beside the one that is set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edge_mlops_monitor.config import Config
    from edge_mlops_monitor.drift.settings import Settings

SET = "as configured"
CONFIG_FILES = (".yaml", ".yml")
BUDGETS = ("average_run_length", "false_alarms_per_month")

compare_option = click.option(
    "--compare",
    "compared",
    multiple=True,
    metavar="SPEC",
    help="Another configuration beside the one that is set: ALGORITHM[:KEY=VALUE,...] or a config file, "
    "each with NAME= before it if wanted. May be given several times.",
)


def configurations(config: Config, given: dict[str, Any], compared: tuple[str, ...]) -> dict[str, Settings]:
    """The settings by name: those of the config with what the command line gave, then the compared ones.

    >>> from edge_mlops_monitor.config import Config
    >>> specs = "ks_test:threshold=0.01", "b=e_detector:average_run_length=9e5"
    >>> found = configurations(Config(), {}, specs)
    >>> [(name, one.algorithm, one.threshold, one.average_run_length) for name, one in found.items()]
    [('as configured', 'e_detector', 0.05, None), ('ks_test:threshold=0.01', 'ks_test', 0.01, None),
     ('b', 'e_detector', 0.05, 900000.0)]
    """
    base = {**config.drift_detection.to_dict(), **given}
    found = {SET: _settings(config, given)}
    for spec in compared:
        name, settings = _configuration(base, spec)
        if name in found:
            raise click.BadParameter(
                f"'{name}' is given twice; write NAME= before one of them", param_hint="--compare"
            )
        found[name] = settings
    return found


def _configuration(base: dict[str, Any], spec: str) -> tuple[str, Settings]:
    """Name and settings of one `--compare`."""
    from edge_mlops_monitor.config import Config, load_config

    head = spec.partition(":")[0]
    name, equals, rest = spec.partition("=") if "=" in head else (spec, "", spec)
    if rest.lower().endswith(CONFIG_FILES):
        return name, _settings(load_config(rest), {})
    algorithm, _, keys = rest.partition(":")
    changed: dict[str, Any] = {"algorithm": algorithm}
    for pair in filter(None, keys.split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise click.BadParameter(
                f"'{pair}' in '{spec}' is no KEY=VALUE; write for instance "
                "e_detector:false_alarms_per_month=4, or a config file that ends in .yaml",
                param_hint="--compare",
            )
        changed[key.strip()] = _value(value.strip())
    if any(key in changed for key in BUDGETS):
        changed = {**dict.fromkeys(BUDGETS), **changed}
    config = Config.from_dict({"drift_detection": {**base, **changed}}, f"--compare {spec}")
    return name, _settings(config, {})


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _settings(config: Config, given: dict[str, Any]) -> Settings:
    from edge_mlops_monitor.drift.settings import Settings

    section = config.drift_detection
    found = {name: section[name] for name in Settings.__struct_fields__ if name in section}
    return Settings(**{**found, **given})
