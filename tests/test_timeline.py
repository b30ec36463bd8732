"""`replay --plot`: the picture of a replay as SVG, HTML and PNG."""

from __future__ import annotations

import random
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edge_mlops_monitor import timeline
from edge_mlops_monitor.dataset import Selection
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.errors import DataError, MissingExtraError
from edge_mlops_monitor.replay import Change, Replay, build_reference, replay
from edge_mlops_monitor.trace import MOST_POINTS, Trace

ODD = "<b>&amp;'\""  # as the name of a feature
SVG = "{http://www.w3.org/2000/svg}"


def csv(path: Path, rows: int, shifted: range = range(0), features: int = 3) -> Path:
    rng = random.Random(3)
    lines = [
        ",".join(["t", f'"{ODD.replace(chr(34), chr(34) * 2)}"', *(f"x{i}" for i in range(1, features))])
    ]
    for row in range(rows):
        values = [rng.gauss(2.0 if row in shifted and i == 0 else 0.0, 1) for i in range(features)]
        lines.append(",".join([str(1_767_225_600 + 60 * row), *(f"{value:.4f}" for value in values)]))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Replay:
    folder = tmp_path_factory.mktemp("plot")
    selection = Selection(timestamp="t")
    reference = build_reference(csv(folder / "train.csv", 2000, features=12), selection)
    path = csv(folder / "d.csv", 6000, range(2000, 4000), features=12)
    changes = [Change(2000, 4000)]
    return replay(path, reference, None, selection, changes=changes, trace=True)


def texts(picture: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def test_the_picture_shows_alarms_recoveries_known_changes_and_the_features_nearest_to_an_alarm(
    found: Replay,
) -> None:
    picture = timeline.svg(found, "d.csv")
    tree = ElementTree.fromstring(picture)
    said = [element.text for element in tree.iter(f"{SVG}title")]
    assert sorted(said) == sorted(one["message"] for one in [*found.alarms, *found.recoveries])
    assert len(said) == 2
    assert f"inputs.{ODD}" in texts(picture)
    assert "change" in texts(picture)
    assert "2026-01-02" in texts(picture)
    lanes = sum(text.startswith("inputs.") for text in texts(picture))
    assert lanes == timeline.OTHERS == len([key for key in found.trace.points if key]) - 7  # type: ignore[union-attr]
    assert any("7 features without an alarm are not shown" in text for text in texts(picture))


def test_everything_is_drawn_within_the_picture(found: Replay) -> None:
    tree = ElementTree.fromstring(timeline.svg(found, "d.csv"))
    height = float(tree.attrib["height"])
    for element in tree.iter():
        for name, most in (("x", timeline.WIDTH), ("x1", timeline.WIDTH), ("y", height), ("y2", height)):
            assert 0 <= float(element.attrib.get(name, 0)) <= most
        for pair in element.attrib.get("points", "").split():
            x, y = map(float, pair.split(","))
            assert timeline.LEFT <= x <= timeline.WIDTH - timeline.RIGHT
            assert timeline.TOP <= y <= height


def test_the_evidence_is_not_drawn_while_a_feature_is_in_alarm(found: Replay) -> None:
    (lane,), _ = [lane for lane in timeline._lanes(found)[0] if lane.alarms], None
    before, after = timeline._stretches(lane)
    assert before[-1] == (found.alarms[0]["index"], found.alarms[0]["ts"], 1.0)
    assert before[-2][0] < before[-1][0] < found.recoveries[0]["index"] < after[0][0]


def test_without_times_the_axis_counts_rows_and_one_row_is_a_picture_too(tmp_path: Path) -> None:
    settings = Settings(average_run_length=1e5, learn_reference_hours=0)
    path = csv(tmp_path / "d.csv", 3000)
    picture = timeline.svg(replay(path, None, settings, Selection(inputs=["x1"]), trace=True), "d.csv")
    assert {"0", "500", "2 500"} <= set(texts(picture))
    for rows in (1, 30):
        one = replay(csv(tmp_path / "d.csv", rows), None, None, Selection(timestamp="t"), trace=True)
        ElementTree.fromstring(timeline.svg(one, "d.csv"))


def test_html_holds_the_picture_and_what_was_told_and_nothing_from_elsewhere(
    found: Replay, tmp_path: Path
) -> None:
    path = tmp_path / "d.html"
    timeline.draw(path, found, "<title>", "told & <so>")
    text = path.read_text()
    assert timeline.svg(found, "<title>") in text
    assert "told &amp; &lt;so&gt;" in text
    assert "<script" not in text
    assert text.count("http") == text.count('xmlns="http') == 1


def test_png_is_drawn_by_the_extra(found: Replay, tmp_path: Path) -> None:
    pytest.importorskip("resvg_py")
    path = tmp_path / "d.png"
    try:
        timeline.draw(path, found, "d.csv")
    except DataError as error:
        pytest.skip(str(error))  # a machine without fonts
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_a_picture_that_cannot_be_drawn_is_one_sentence_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"name it \.html, \.svg or \.png"):
        timeline.check(tmp_path / "d.pdf")
    with pytest.raises(DataError, match="there is no folder"):
        timeline.check(tmp_path / "nowhere" / "d.svg")
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(MissingExtraError, match=r"run: pip install 'edge-mlops-monitor\[plot\]', or name it"):
        timeline.check(tmp_path / "d.png")


def test_a_long_trace_is_thinned_out_and_keeps_its_peaks() -> None:
    from edge_mlops_monitor.records import DriftResult

    trace = Trace(points={}, newest={})
    for row in range(99, 1_000_000, 100):
        if trace.due(None, row):
            peak = 0.5 if row == 50_199 else 0.1
            result = DriftResult(feature="a", method="e_detector", statistic=peak, threshold=1.0)
            trace.take(None, row, 0.0, [result])
    (points,) = trace.points.values()
    assert MOST_POINTS / 2 - 1 <= len(points) <= MOST_POINTS
    gaps = {later[0] - earlier[0] for earlier, later in pairwise(points)}
    assert max(gaps) <= 3 * 1600
    assert max(point[2] for point in points) == 0.5
