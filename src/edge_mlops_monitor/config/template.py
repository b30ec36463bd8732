"""The commented config that `init` writes, from the sections."""

from __future__ import annotations

import textwrap
from typing import Any

from edge_mlops_monitor.config import SECTIONS, Config
from edge_mlops_monitor.config.checking import declared, plain
from edge_mlops_monitor.config.effects import idle_keys
from edge_mlops_monitor.config.sections import Section

HEAD = """\
# Configuration of Edge MLOps Monitor. Every key is here with its default; a line that
# begins with # and a key is off or has no effect until you set it. What you leave out
# keeps its default. Check your changes with: edge-mlops-monitor check

# false turns the monitor into one that records nothing and costs nothing.
enabled: true

# Name of this device in everything it uploads: letters, digits, '.', '_', '-', at most 64.
# Empty: the host name and a hash of the machine's identity.
# device_id: "pi-7"
"""
SINKS = """
# More places to upload to, each with a name of its own.
# sinks:
#   archive: {type: file, path: /mnt/usb/archive}
#   cloud: {type: s3, bucket: my-bucket, region: eu-central-1}
"""
EXAMPLES = {
    "sample_every": "10",
    "sample_per_minute": "600",
    "buffer_size": "1000",
    "average_run_length": "1000000",
    "redact": '{"inputs.user_*": hash}',
}


def commented_config() -> str:
    """A config file with every key, its default and its meaning."""
    idle = {key for key, _ in idle_keys(Config())}
    return HEAD + "".join(_section(name, cls, idle) for name, cls in SECTIONS.items()) + SINKS


def _section(name: str, cls: type[Section], idle: set[str]) -> str:
    defaults = cls()
    lines = ["", f"# {cls.title}", f"{name}:"]
    for key, annotation in declared(cls).items():
        lines += [f"  # {line}" for line in textwrap.wrap(description(annotation), 84)]
        default = getattr(defaults, key)
        off = default in (None, "", {}) or f"{name}.{key}" in idle or key == "type"
        lines.append(f"  {'# ' if off else ''}{key}: {_spelled(key, default)}")
    return "\n".join(lines) + "\n"


def description(annotation: Any) -> str:
    """The meaning of a key, as its section declares it."""
    for part in annotation.__metadata__:
        if part.description:
            return str(part.description)
    raise LookupError("a key without a description")


def _spelled(key: str, default: Any) -> str:
    if key in EXAMPLES:
        return EXAMPLES[key]
    return '""' if default == "" else plain(default)
