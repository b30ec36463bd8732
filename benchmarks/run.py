"""Runs the benchmarks, each in a process of its own, and writes down what they found.

    python benchmarks/run.py                 all, about half an hour, half of it for detection
    python benchmarks/run.py call flash      these
    python benchmarks/run.py --quick         a fraction of the time; only prints
    python benchmarks/run.py --readme        only writes the tables, from the last results

The results go to results/latest.json, the tables to docs/benchmarks.md, docs/detection.md and README.md.
Every figure stands beside its floor or its peer from the same run. Where a bench is run in several rounds,
the median of each figure counts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sqlite3
import statistics
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from detection_tables import tables
from workload import figure

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = HERE / "results" / "latest.json"
ROUNDS = {"call": 3, "cpu": 3}
LIMITS = {"detection": 2400}  # seconds
BENCHES = (
    "call",
    "arrays",
    "host",
    "cpu",
    "rate",
    "flash",
    "start",
    "million",
    "upload",
    "methods",
    "profiles",
    "performance",
    "detection",
    "replay",
    "peer",
)
TITLES = {
    "call": "The call",
    "arrays": "Images and embeddings",
    "host": "The host's tail",
    "cpu": "Processor time",
    "rate": "Rate",
    "flash": "Flash wear",
    "start": "Import, first prediction, memory",
    "million": "A million stored predictions",
    "upload": "Upload",
    "methods": "Drift methods",
    "profiles": "Profiles",
    "performance": "Performance of a model",
    "detection": "Detection",
    "replay": "Replay",
    "peer": "Version 0.1.1 of this package",
}
README = (
    ("call", "a call in a busy loop, median"),
    ("host", "a host's step of 1 ms, p99"),
    ("cpu", "CPU a prediction: capture, store, drift"),
    ("cpu", "share of a core at 10 predictions a second"),
    ("flash", "bytes written by bytes of JSON, 10 predictions a second"),
    ("start", "import, time"),
    ("start", "resident with drift on"),
    ("rate", "dropped at 20 000 a second, host that lets go of the lock"),
    ("upload", "three decimals: bytes on the wire, share of the JSON Lines"),
    ("peer", "a prediction in two halves, median"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="a fraction of the time; writes no file")
    parser.add_argument("--readme", action="store_true", help="only write the tables, from the last results")
    given = parser.parse_args()
    if unknown := set(given.names) - set(BENCHES):
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"benchmarks": {}}
    if not given.readme:
        for name in given.names or BENCHES:
            found = measured(name, given.quick)
            known["benchmarks"][name] = found
            print(section(name, found), flush=True)
            if not given.quick:
                save(known)
    if not given.quick:
        write_tables(known)


def measured(name: str, quick: bool) -> dict[str, Any]:
    """The figures of one bench, the median of its rounds; `error` where it did not run."""
    print(f"{TITLES[name]} ...", file=sys.stderr, flush=True)
    began = time.monotonic()
    try:
        rounds = [once(name, quick) for _ in range(1 if quick else ROUNDS.get(name, 1))]
    except (subprocess.SubprocessError, ValueError, KeyError) as error:
        stderr = getattr(error, "stderr", "") or ""
        return {"error": (stderr.strip().splitlines() or [str(error)])[-1], "figures": [], **origin()}
    figures = [median(list(same)) for same in zip(*(one["figures"] for one in rounds), strict=True)]
    seconds = round(time.monotonic() - began, 1)
    return {"figures": figures, "details": rounds[-1]["details"], "seconds": seconds, **origin()}


def once(name: str, quick: bool) -> dict[str, Any]:
    script = HERE / f"bench_{name}.py"
    options = ["--quick"] * quick
    environment = dict(os.environ)
    if name == "detection":
        options.append("--json")
    if name == "upload":
        options, environment["BENCH_UPLOAD_RECORDS"] = [], "10000" if quick else "100000"
    command = [sys.executable, str(script), *options]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        timeout=LIMITS.get(name, 600),
        env=environment,
        cwd=ROOT,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return ADAPTERS[name](found) if name in ADAPTERS else found


def from_upload(found: dict[str, Any]) -> dict[str, Any]:
    """The figures of `bench_upload.py`."""
    goals, figures = found["goals"], []
    for key, words in (("random_floats", "random floats"), ("three_decimals", "three decimals")):
        one = found[key]
        figures += [
            figure(
                f"{words}: {found['records']} predictions to an S3 server on loopback",
                one["seconds"],
                "s",
                goal=goals["seconds"],
                beside=one["floor_puts_alone_seconds"],
                beside_is="the puts alone",
            ),
            figure(
                f"{words}: bytes on the wire, share of the JSON Lines",
                one["wire_share_of_json_lines"] * 100,
                "%",
                goal=goals[f"{key}_wire_share"] * 100,
            ),
        ]
    return {"figures": figures, "details": found}


ADAPTERS = {"upload": from_upload}


def median(same: list[dict[str, Any]]) -> dict[str, Any]:
    """One figure out of those of several rounds."""
    out = dict(same[-1])
    for key in ("value", "beside"):
        if out[key] is not None:
            out[key] = statistics.median(one[key] for one in same)
    out["ratio"] = out["value"] / out["beside"] if out["beside"] else None
    out["met"] = met(out)
    return out


def met(found: dict[str, Any]) -> bool | None:
    """Whether the goals are met; None where there is none."""
    if found["goal"] is None and found["ratio_goal"] is None:
        return None
    if found["goal"] is not None and found["value"] > found["goal"]:
        return False
    return not (found["ratio_goal"] is not None and (found["ratio"] or 0.0) > found["ratio_goal"])


def origin() -> dict[str, Any]:
    """When, of what, on what."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit.stdout.strip(),
        "machine": machine(),
    }


def machine() -> dict[str, Any]:
    model, memory = platform.machine(), 0
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith(("model name", "Model")):
            model = line.partition(":")[2].strip()
            break
    for line in Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").exists() else []:
        if line.startswith("MemTotal"):
            memory = round(int(line.split()[1]) / (1 << 20))
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": memory,
        "kernel": ".".join(platform.release().split(".")[:2]),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "load": round(os.getloadavg()[0], 1),
    }


def save(known: dict[str, Any]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(known, indent=1) + "\n")


def number(value: float | None) -> str:
    if value is None:
        return ""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) >= 0.01 else f"{value:.1e}"


def goal(found: dict[str, Any]) -> str:
    if found["ratio_goal"] is not None:
        return f"at most {found['ratio_goal']:g} times"
    return "" if found["goal"] is None else f"at most {found['goal']:g} {found['unit']}"


def row(found: dict[str, Any]) -> str:
    beside = f"{number(found['beside'])} ({found['beside_is']})" if found["beside"] is not None else ""
    reached = {True: "met", False: "**not met**", None: ""}[found["met"]]
    ratio = "" if found["ratio"] is None else number(found["ratio"])
    if found["ratio"] and found["ratio"] < 0.1:
        ratio = f"1/{1 / found['ratio']:.0f}"
    what = found["what"] + (f" ({found['note']})" if found["note"] else "")
    cells = [what, f"{number(found['value'])} {found['unit']}", beside, ratio, goal(found), reached]
    return f"| {' | '.join(cells)} |"


HEAD = "| | measured | beside | ratio | goal | |\n| --- | --- | --- | --- | --- | --- |"


def section(name: str, found: dict[str, Any]) -> str:
    """One bench as a heading and a table."""
    text = f"### {TITLES[name]}\n\n"
    if found.get("error"):
        return f"{text}Did not run: {found['error']}\n"
    if found["details"].get("skipped"):
        return f"{text}Skipped: {found['details']['skipped']}.\n"
    return text + "\n".join([HEAD, *map(row, found["figures"])]) + "\n"


def described(found: dict[str, Any]) -> str:
    of = found["machine"]
    return (
        f"{found['date']}, commit {found['commit']}: {of['cores']} cores of {of['cpu']}, "
        f"{of['memory_gb']} GB, Linux {of['kernel']}, Python {of['python']}, SQLite {of['sqlite']}, "
        f"load {of['load']} at the end."
    )


def write_tables(known: dict[str, Any]) -> None:
    """docs/benchmarks.md and the costs in README.md, between their markers."""
    ordered = {name: known["benchmarks"][name] for name in BENCHES if name in known["benchmarks"]}
    sections = [section(name, found) + f"\n{described(found)}\n" for name, found in ordered.items()]
    replace(ROOT / "docs" / "benchmarks.md", "results", "\n".join(sections))
    if "details" in (detection := ordered.get("detection", {})):
        text = f"{tables(detection['details'])}\n\n{described(detection)}"
        replace(ROOT / "docs" / "detection.md", "detection", text)
    chosen = [
        found
        for name, what in README
        for found in ordered.get(name, {}).get("figures", [])
        if found["what"] == what
    ]
    if chosen:
        table = "\n".join(
            ["| | measured | beside | goal |", "| --- | --- | --- | --- |", *map(short, chosen)]
        )
        missed = [row for found in ordered.values() for row in found["figures"] if row["met"] is False]
        told = f"{len(missed)} of all goals {'is' if len(missed) == 1 else 'are'} not met"
        told = told if missed else "All goals are met"
        cores = ordered[README[0][0]]["machine"]["cores"]
        dates = sorted(ordered[name]["date"][:10] for name, _ in README if name in ordered)
        replace(
            ROOT / "README.md",
            "costs",
            f"{table}\n\nMeasured from {dates[0]} to {dates[-1]} on {cores} cores of a server. {told}; "
            "[docs/benchmarks.md](docs/benchmarks.md) has every figure with its date, commit and machine, "
            "and `make bench` measures yours.",
        )


def short(found: dict[str, Any]) -> str:
    beside = f"{number(found['beside'])} {found['unit']}: {found['beside_is']}" if found["beside_is"] else ""
    wanted = goal(found) + (" (not met)" if found["met"] is False else "")
    return f"| {found['what']} | {number(found['value'])} {found['unit']} | {beside} | {wanted} |"


def replace(path: Path, name: str, text: str) -> None:
    """Put `text` between `<!-- name:begin -->` and `<!-- name:end -->`, where the file has them."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    old = path.read_text() if path.exists() else ""
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    new = pattern.sub(lambda _: f"{begin}\n{text.strip()}\n{end}", old)
    if new != old:
        path.write_text(new)


if __name__ == "__main__":
    main()
