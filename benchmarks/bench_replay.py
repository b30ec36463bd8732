"""Replay of a recorded file of 20 features with a decision about every row, from CSV and from Parquet.

Beside it reading the same file into floats and nothing else: `numpy.loadtxt`, and pyarrow. The goals are
15 000 rows a second from CSV and 50 000 from Parquet. Reading, decisions and the recommendation are all in.
Counted is processor time of all threads, which on a machine that does nothing else is the time it takes.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from workload import arguments, figure, report, scratch

from edge_mlops_monitor.replay import Selection, build_reference, replay

FEATURES = 20
GOALS = {"csv": 15_000, "parquet": 50_000}  # rows a second
NAMES = {"csv": "CSV", "parquet": "Parquet"}
ROUNDS = 5


def write(folder: Path, rows: int) -> dict[str, Path]:
    """The same table as CSV, as Parquet where pyarrow is installed, and its first rows for a reference."""
    values = np.round(np.random.default_rng(0).normal(size=(rows, FEATURES)), 5)
    table = np.column_stack((1_767_225_600 + 60 * np.arange(rows), values))
    header = ",".join(["t", *(f"x{place}" for place in range(FEATURES))])
    paths = {kind: folder / f"data.{kind}" for kind in ("csv", "parquet")}
    np.savetxt(paths["csv"], table, "%.10g", ",", header=header, comments="")
    paths["reference"] = folder / "reference.csv"
    np.savetxt(paths["reference"], table[:3000], "%.10g", ",", header=header, comments="")
    if importlib.util.find_spec("pyarrow") is None:
        del paths["parquet"]
        return paths
    import pyarrow
    import pyarrow.parquet

    columns = dict(zip(header.split(","), table.T, strict=True))
    pyarrow.parquet.write_table(pyarrow.table(columns), paths["parquet"])
    return paths


def read_csv(path: Path) -> None:
    """The floor of CSV."""
    np.loadtxt(path, delimiter=",", skiprows=1)


def read_parquet(path: Path) -> None:
    """The floor of Parquet, a chunk at a time as we read it."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=2000):
            for column in batch.columns:
                column.to_numpy()


FLOORS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "csv": ("numpy.loadtxt alone", read_csv),
    "parquet": ("pyarrow's reading alone", read_parquet),
}


def microseconds(call: Callable[[], Any], rows: int) -> tuple[float, float]:
    """Of processor time and of wall time, a row."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return (time.process_time() - cpu) / rows * 1e6, (time.perf_counter() - wall) / rows * 1e6


def measure(quick: bool) -> None:
    rows = 20_000 if quick else 100_000
    selection = Selection(timestamp="t")
    figures = []
    with scratch() as folder:
        paths = write(Path(folder), rows)
        reference = build_reference(paths.pop("reference"), selection)
        for kind, path in paths.items():
            floor_is, floor = FLOORS[kind]
            floor(path)  # imports, and the file into the page cache
            ours, theirs = [], []
            for _ in range(2 if quick else ROUNDS):
                theirs.append(microseconds(lambda floor=floor, path=path: floor(path), rows))
                ours.append(microseconds(lambda path=path: replay(path, reference, None, selection), rows))
            cpu, wall = (statistics.median(one) for one in zip(*ours, strict=True))
            figures.append(
                figure(
                    f"replay of {FEATURES} features from {NAMES[kind]}",
                    cpu,
                    "us a row",
                    goal=round(1e6 / GOALS[kind], 1),
                    beside=statistics.median(one for one, _ in theirs),
                    beside_is=floor_is,
                    note=f"{1e6 / cpu:.0f} rows a second of processor time, {1e6 / wall:.0f} by the clock",
                )
            )
    report("replay", figures, rows=rows)


if __name__ == "__main__":
    measure(arguments().quick)
