"""`reference build`, `reference show` and `replay` on recorded files."""

from __future__ import annotations

import gzip
import html
import json
import os
import random
from pathlib import Path

import pytest

from edge_mlops_monitor.cli import main

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
WEEK = DATA / "nannyml" / "inputs" / "seeded_week_frame.csv.gz"
FEATURES = ["--inputs", "f1,f2,f3,f4", "--outputs", "y_pred_proba,output", "--timestamp", "timestamp"]


@pytest.fixture(autouse=True)
def _apart(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith("EDGE_MLOPS_MONITOR"):
            monkeypatch.delenv(name)
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.chdir(tmp_path)


def recorded(path: str, rows: int, change_at: int | None = None, seed: int = 1) -> None:
    """A line's log: a value that shifts by one standard deviation at a row, a category, a label."""
    numbers = random.Random(seed)
    with open(path, "w") as file:
        file.write("t,a,colour,line,y,label\n")
        for row in range(rows):
            shift = 1.0 if change_at is not None and row >= change_at else 0.0
            a, y = numbers.gauss(shift, 1), numbers.random()
            file.write(f"{60 * row},{a:.4f},{numbers.choice('rgb')},line-{row % 2},{y:.4f},{row % 3}\n")


def answer(capsys, *arguments: str, status: int = 0):
    assert main([*arguments, "--json"]) == status, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def built(capsys, *options: str):
    recorded("train.csv", 3000)
    columns = ["--timestamp", "t", "--inputs", "a,colour", "--outputs", "y", "--actual", "label"]
    return answer(capsys, "reference", "build", "train.csv", "-o", "ref.json", *columns, *options)


def test_a_reference_is_built_and_shown(capsys):
    made = built(capsys)
    names = ["inputs.a", "inputs.colour", "outputs.y", "performance.error"]
    assert [feature["feature"] for feature in made["features"]] == names
    assert [feature["kind"] for feature in made["features"]] == ["number", "category", "number", "number"]
    assert made["features"][0]["rows"] == 3000
    shown = answer(capsys, "reference", "show", "ref.json")
    assert shown["features"] == made["features"]
    assert main(["reference", "show", "ref.json"]) == 0
    out = capsys.readouterr().out
    assert "inputs.colour" in out
    assert max(map(len, out.splitlines())) <= 80


def test_every_source_gets_its_own_reference(capsys):
    made = built(capsys, "--source", "line")
    assert {(feature["source"], feature["feature"]) for feature in made["features"]} >= {
        ("line-0", "inputs.a"),
        ("line-1", "inputs.a"),
    }
    assert made["features"][0]["rows"] == 1500


def test_raw_values_are_kept_on_request_only(capsys):
    assert not any(feature["raw_values"] for feature in built(capsys)["features"])
    assert built(capsys, "--raw")["features"][0]["raw_values"]


def test_replay_finds_the_change_and_says_at_which_row(capsys):
    built(capsys)
    recorded("field.csv", 4000, change_at=2500, seed=2)
    options = ["--reference", "ref.json", "--timestamp", "t", "--inputs", "a,colour", "--outputs", "y"]
    found = answer(capsys, "replay", "field.csv", *options, "--exit-code", status=3)
    assert found["predictions"] == 4000
    (alarm,) = found["alarms"]
    assert alarm["feature"] == "inputs.a"
    assert 2500 < alarm["index"] < 2800
    assert alarm["ts"] == 60 * alarm["index"]
    assert {"method", "effect"} <= set(alarm)
    assert found["not_enough_reference"] == []
    assert found["budget"]["false_alarms_per_month"] == 1
    assert main(["replay", "field.csv", *options]) == 0
    out = capsys.readouterr().out
    assert "1 false alarm a month" in out
    assert "inputs.a" in out
    assert max(map(len, out.splitlines())) <= 80


def test_nothing_is_reported_about_healthy_data(capsys):
    built(capsys)
    recorded("field.csv", 4000, seed=3)
    options = ["--reference", "ref.json", "--timestamp", "t", "--inputs", "a,colour", "--outputs", "y"]
    assert answer(capsys, "replay", "field.csv", *options, "--exit-code")["alarms"] == []


def test_the_budget_of_the_command_line_takes_the_place_of_the_configs(capsys):
    built(capsys)
    Path("c.yaml").write_text("drift_detection: {average_run_length: 5000, reference_data_path: ref.json}\n")
    options = ["--config", "c.yaml", "--timestamp", "t", "--inputs", "a,colour", "--outputs", "y"]
    assert answer(capsys, "replay", "train.csv", *options)["budget"]["average_run_length"] == 5000
    changed = answer(capsys, "replay", "train.csv", *options, "--false-alarms-per-month", "2")
    assert changed["budget"]["false_alarms_per_month"] == 2
    changed = answer(capsys, "replay", "train.csv", *options, "--average-run-length", "1e6")
    assert changed["budget"]["average_run_length"] == 1_000_000
    both = ["--average-run-length", "9", "--false-alarms-per-month", "2"]
    assert main(["replay", "train.csv", *options, *both]) == 2


def test_too_little_reference_is_an_answer_of_its_own(capsys):
    recorded("train.csv", 30)
    answer(capsys, "reference", "build", "train.csv", "-o", "ref.json", "--timestamp", "t", "--inputs", "a")
    recorded("field.csv", 500)
    found = answer(
        capsys, "replay", "field.csv", "--reference", "ref.json", "--timestamp", "t", "--inputs", "a"
    )
    assert found["not_enough_reference"] == ["inputs.a"]
    assert main(["replay", "field.csv", "--reference", "ref.json", "--timestamp", "t", "--inputs", "a"]) == 0
    assert "Not enough reference" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.csv", b"", "is empty"),
        ("header.csv", b"a,b\n", "no rows"),
        ("x.csv", b"a,b\n1,2,3\n", "3 values where the header has 2"),
        ("x.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 9000)[:-20], "cannot be read"),
        ("x.jsonl", b"{}\nnope\n", "line 2 is not JSON"),
        ("x.jsonl", b'{"a": NaN, "b": "half \\ud800"}\n', "line 1 is not JSON"),
        ("x.xls", b"\xd0\xcf\x11\xe0", "unknown kind"),
        ("x.parquet", b"PAR1 not really", ""),
        ("x.csv", b"\xff\xfe\x00", "UTF-8"),
    ],
)
def test_data_that_cannot_be_read_is_one_sentence(capsys, name, content, words):
    Path(name).write_bytes(content)
    for arguments in (
        ["reference", "build", name, "-o", "r.json"],
        ["replay", name, "--average-run-length", "9"],
    ):
        assert main(arguments) in (1, 2)
        captured = capsys.readouterr()
        assert captured.err.startswith("edge-mlops-monitor: ")
        assert captured.err.count("\n") == 1
        assert "should not have happened" not in captured.err
        assert words in captured.err
    assert list(Path().glob("r.json*")) == []


@pytest.mark.parametrize("budget", ["--average-run-length", "--false-alarms-per-month"])
@pytest.mark.parametrize("number", ["nan", "inf", "1e400", "0", "-1", "many"])
def test_a_budget_that_is_no_number_of_alarms_is_one_sentence(capsys, budget, number):
    recorded("field.csv", 50)
    assert main(["replay", "field.csv", "--timestamp", "t", budget, number]) == 2
    captured = capsys.readouterr()
    assert budget in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"a": {}}', '{"format": "x"}', "{" * 10_000, '{"a": [1, [2]]}']
)
def test_a_file_that_is_no_reference_is_one_sentence(capsys, content):
    Path("r.json").write_text(content)
    recorded("field.csv", 50)
    for arguments in (
        ["reference", "show", "r.json"],
        ["replay", "field.csv", "--reference", "r.json", "--timestamp", "t"],
    ):
        assert main(arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("edge-mlops-monitor: ")
        assert captured.err.count("\n") == 1


def test_a_column_that_is_not_there_names_the_nearest(capsys):
    recorded("field.csv", 50)
    assert main(["replay", "field.csv", "--inputs", "color", "--average-run-length", "9"]) == 2
    assert "did you mean 'colour'?" in capsys.readouterr().err


@pytest.mark.skipif(not WEEK.exists(), reason="the peers' reference data are not beside this checkout")
def test_the_peers_seeded_week_alarms_on_each_changed_feature_after_the_change_only(capsys):
    lines = gzip.decompress(WEEK.read_bytes()).splitlines(keepends=True)
    Path("train.csv").write_bytes(b"".join(lines[:10_081]))
    answer(capsys, "reference", "build", "train.csv", "-o", "ref.json", *FEATURES)
    found = answer(capsys, "replay", str(WEEK), "--reference", "ref.json", *FEATURES)
    first = {}
    for alarm in found["alarms"]:
        first.setdefault(alarm["feature"], alarm["index"])
    assert found["predictions"] == 20_160
    assert set(first) >= {"inputs.f1", "inputs.f2"}
    assert min(first.values()) > 15_120


def test_columns_that_are_named_as_nothing_are_inputs(capsys):
    recorded("train.csv", 1000)
    made = answer(
        capsys, "reference", "build", "train.csv", "-o", "r.json", "--timestamp", "t", "--outputs", "y"
    )
    names = {feature["feature"] for feature in made["features"]}
    assert names == {"inputs.a", "inputs.colour", "inputs.line", "inputs.label", "outputs.y"}
    some = ["--timestamp", "t", "--actual", "label", "--source", "line"]
    made = answer(capsys, "reference", "build", "train.csv", "-o", "r.json", *some)
    assert {feature["feature"] for feature in made["features"]} == {"inputs.a", "inputs.colour", "inputs.y"}
    recorded("field.csv", 3000, change_at=2000, seed=2)
    found = answer(capsys, "replay", "field.csv", "--reference", "r.json", *some)
    assert [(alarm["feature"], alarm["source"]) for alarm in found["alarms"]] == [
        ("inputs.a", "line-0"),
        ("inputs.a", "line-1"),
    ]


def test_a_label_is_no_feature_and_a_drift_of_the_labels_no_alarm(capsys):
    recorded("train.csv", 2000)
    with open("field.csv", "w") as file:
        lines = Path("train.csv").read_text().splitlines(keepends=True)
        file.writelines(lines[:1001] + [line.rstrip()[:-1] + "2\n" for line in lines[1001:]])
    for options, alarmed in ((["--actual", "label"], set()), ([], {"inputs.label"})):
        columns = ["--timestamp", "t", *options]
        answer(capsys, "reference", "build", "train.csv", "-o", "r.json", *columns)
        found = answer(capsys, "replay", "field.csv", "--reference", "r.json", *columns)
        assert {alarm["feature"] for alarm in found["alarms"]} == alarmed


def test_a_budget_in_predictions_needs_no_times_and_decides_how_soon_is_alarmed(capsys):
    built(capsys)
    recorded("field.csv", 4000, change_at=2500, seed=2)
    options = ["--reference", "ref.json", "--inputs", "a"]
    assert main(["replay", "field.csv", *options]) == 2
    assert "--average-run-length" in capsys.readouterr().err
    rows = []
    for length in ("1000", "1e12"):
        found = answer(capsys, "replay", "field.csv", *options, "--average-run-length", length)
        assert found["budget"] == {"algorithm": "e_detector", "average_run_length": float(length)}
        rows += [alarm["index"] for alarm in found["alarms"]]
        assert found["alarms"][-1]["ts"] == 0
    assert len(rows) == 2
    assert 2500 <= rows[0] < rows[1] < 2700


def test_each_source_alarms_for_itself_and_names_rows_of_the_file(capsys):
    built(capsys, "--source", "line")
    lines = Path("train.csv").read_text().splitlines(keepends=True)
    for row in range(2000, 3000):
        t, a, *rest = lines[row + 1].split(",")
        if rest[1] == "line-1":
            lines[row + 1] = ",".join([t, f"{float(a) + 2:.4f}", *rest])
    Path("field.csv").write_text("".join(lines))
    columns = ["--timestamp", "t", "--source", "line", "--inputs", "a"]
    found = answer(capsys, "replay", "field.csv", "--reference", "ref.json", *columns)
    (alarm,) = found["alarms"]
    assert (alarm["feature"], alarm["source"]) == ("inputs.a", "line-1")
    assert 2000 <= alarm["index"] < 2200
    assert alarm["index"] % 2 == 1  # the odd rows are that line's
    assert abs(alarm["since_index"] - 2000) <= 100


def test_categories_written_as_numbers_are_categories_where_that_is_said(capsys):
    recorded("train.csv", 2000)
    options = ["--timestamp", "t", "--inputs", "a,label", "--categorical", "label"]
    made = answer(capsys, "reference", "build", "train.csv", "-o", "r.json", *options)
    assert [feature["kind"] for feature in made["features"]] == ["number", "category"]
    lines = Path("train.csv").read_text().splitlines(keepends=True)
    Path("field.csv").write_text(
        "".join(lines[:1001] + [line.rstrip()[:-1] + "9\n" for line in lines[1001:]])
    )
    found = answer(capsys, "replay", "field.csv", "--reference", "r.json", *options)
    (alarm,) = found["alarms"]
    assert alarm["feature"] == "inputs.label"
    assert alarm["effect_unit"] == "share unseen"
    assert "unseen" in alarm["message"]


CHANGED = ["--timestamp", "t", "--inputs", "a,colour", "--outputs", "y", "--reference", "ref.json"]


def test_known_changes_are_found_missed_and_set_beside_firing_blindly(capsys):
    built(capsys)
    recorded("field.csv", 4000, change_at=2500, seed=2)
    found = answer(capsys, "replay", "field.csv", *CHANGED, "--changes", "a@2500,y@3000-3500")
    hit, missed = found["truth"]["changes"]
    (alarm,) = found["alarms"]
    assert (hit["index"], hit["until"]) == (2500, 4000)
    assert hit["alarm_index"] == alarm["index"] == 2500 + hit["delay"]
    assert hit["delay_seconds"] == 60 * hit["delay"]
    assert (missed["feature"], missed["until"], missed["alarm_index"]) == ("y", 3500, None)
    assert (found["truth"]["missed"], found["truth"]["false_alarms"]) == (1, 0)
    assert (found["truth"]["stable_rows"], found["truth"]["stable_seconds"]) == (2500, 150_000)
    beside = found["truth"]["baselines"]
    assert {name: one["false_alarms"] for name, one in beside.items()} == {
        "never": 0,
        "always": 500,
        "periodic": 1,
    }
    assert main(["replay", "field.csv", *CHANGED, "--changes", "2500", "--plot", "out.html"]) == 0
    out = capsys.readouterr().out
    assert html.escape(alarm["message"]) in Path("out.html").read_text()
    assert "row 2 500" in out
    assert "always fires" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(("stable", "changed"), [("0", "1"), ("0.0", "2.5"), ("normal", "broken"), ("", "x")])
def test_a_column_of_labels_tells_the_changes_and_is_no_input(capsys, stable, changed):
    built(capsys)
    recorded("field.csv", 4000, change_at=2500, seed=2)
    head, *lines = Path("field.csv").read_text().splitlines()
    marked = [f"{line},{changed if 2500 <= row < 3900 else stable}" for row, line in enumerate(lines)]
    Path("field.csv").write_text("\n".join([head + ",truth", *marked]) + "\n")
    columns = [
        "--timestamp",
        "t",
        "--actual",
        "label",
        "--changes-column",
        "truth",
        "--reference",
        "ref.json",
    ]
    found = answer(capsys, "replay", "field.csv", *columns)
    (change,) = found["truth"]["changes"]
    assert (change["index"], change["until"]) == (2500, 3900)
    assert 0 < change["delay"] < 300
    assert not any("truth" in name for name in [*found["learning"], *found["not_enough_reference"]])
    assert found["truth"]["stable_seconds"] == pytest.approx(60 * (2500 + 99))


def test_configurations_are_compared_in_one_pass_under_their_names(capsys):
    built(capsys, "--raw")
    recorded("field.csv", 4000, change_at=2500, seed=2)
    Path("other.yaml").write_text("drift_detection: {average_run_length: 1000000000000}\n")
    specs = [
        "ks_test:threshold=0.2,check_frequency=50",
        "tight=e_detector:average_run_length=1e9",
        "other.yaml",
    ]
    compared = [word for spec in specs for word in ("--compare", spec)]
    found = answer(capsys, "replay", "field.csv", *CHANGED, *compared, "--changes", "2500")
    ks, tight, file = found["compared"]
    assert [one["name"] for one in found["compared"]] == [specs[0], "tight", "other.yaml"]
    assert ks["budget"] == {"algorithm": "ks_test", "threshold": 0.2, "check_frequency": 50}
    assert ks["truth"]["false_alarms"] > 10 > found["truth"]["false_alarms"]
    assert (tight["budget"]["average_run_length"], file["budget"]["average_run_length"]) == (1e9, 1e12)
    monthly = ["--compare", "e_detector:false_alarms_per_month=2"]
    alone = answer(capsys, "replay", "field.csv", *CHANGED, "--average-run-length", "1e9", *monthly)
    assert tight["alarms"] == alone["alarms"]
    assert alone["compared"][0]["budget"] == {"algorithm": "e_detector", "false_alarms_per_month": 2}
    assert main(["replay", "field.csv", *CHANGED, *compared, "--changes", "2500"]) == 0
    out = capsys.readouterr().out
    assert "as configured" in out
    assert "tight" in out
    assert "ks_test compares numbers and this is a category" in " ".join(out.split())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--changes", "5000"], "row 5000 is not in the data, whose rows are 0 to 499"),
        (["--changes", "9-3"], "'9-3' is no change"),
        (["--changes", "x"], "'x' is no change"),
        (["--changes", "colours@5"], "no feature 'colours' that could change; did you mean 'colour'?"),
        (["--changes", "5", "--changes-column", "label"], "there is one truth: give --changes or"),
        (["--changes-column", "labels"], "did you mean 'label'?"),
        (["--plot", "out.pdf"], "out.pdf: is no picture that can be drawn; name it .html, .svg or .png"),
        (["--plot", "nowhere/out.svg"], "there is no folder nowhere"),
        (["--compare", "kst"], "drift_detection.algorithm is 'kst'; use one of e_detector, ks_test"),
        (["--compare", "ks_test:treshold=1"], "did you mean 'threshold'?"),
        (["--compare", "ks_test:threshold=low"], "threshold"),
        (["--compare", "ks_test:4"], "is no KEY=VALUE"),
        (["--compare", "none.yaml"], "no config file"),
        (["--compare", "ks_test", "--compare", "ks_test"], "is given twice"),
    ],
)
def test_a_wrong_truth_or_configuration_is_one_sentence(capsys, options, words):
    recorded("field.csv", 500)
    assert main(["replay", "field.csv", "--timestamp", "t", *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert captured.err.count("\n") == 1


def test_rows_that_are_out_of_order_are_counted_and_said(capsys):
    recorded("train.csv", 2000)
    head, *lines = Path("train.csv").read_text().splitlines()
    Path("train.csv").write_text("\n".join([head, *lines[500:520], *lines[:500], *lines[520:]]) + "\n")
    assert answer(capsys, "replay", "train.csv", "--timestamp", "t")["out_of_order"] == 500
    assert main(["replay", "train.csv", "--timestamp", "t"]) == 0
    assert "500 rows are earlier than one before them; sort" in capsys.readouterr().out


def test_what_can_be_expected_is_said_in_standard_deviations_and_units(capsys):
    built(capsys)
    recorded("field.csv", 4000, seed=3)
    found = answer(capsys, "replay", "field.csv", *CHANGED)["recommendation"]
    assert [(one["within"], one["predictions"]) for one in found["horizons"]] == [
        ("hour", 60),
        ("day", 1440),
        ("budget", 43_210),
    ]
    a, y = found["features"]
    assert (a["feature"], y["feature"]) == ("inputs.a", "outputs.y")
    shifts = [shift["sd"] for shift in a["shifts"]]
    assert 1.5 > shifts[0] > shifts[1] > shifts[2] > 0.05
    assert y["shifts"][1]["units"] == pytest.approx(y["shifts"][1]["sd"] / 12**0.5, rel=0.1)
    assert main(["replay", "field.csv", *CHANGED]) == 0
    out = capsys.readouterr().out
    assert "Smallest shift found in" in out
    assert f"{shifts[0]:.2f} sd = " in out
    assert max(map(len, out.splitlines())) <= 80
    by_rows = ["--reference", "ref.json", "--inputs", "a", "--average-run-length", "5000"]
    found = answer(capsys, "replay", "field.csv", *by_rows)["recommendation"]
    assert [(one["seconds"], one["predictions"]) for one in found["horizons"]] == [(None, 1000), (None, 5000)]


ODD = {
    "one row": ["1"],
    "constant": ["7"] * 300,
    "all missing": [""] * 300,
    "infinities": ["inf", "-inf", "1"] * 100,
    "beyond 2^53": [str(2**60 + i) for i in range(300)],
    "text and numbers": ["1", "x", "2"] * 100,
    "new labels": [f"c{i}" for i in range(300)],
}


@pytest.mark.parametrize("train", ODD)
def test_odd_columns_under_every_option_give_an_answer_and_no_warning(capsys, train):
    for name, values in (("train", ODD[train]), ("field", [value for odd in ODD.values() for value in odd])):
        lines = [f"{60 * row},{value},0" for row, value in enumerate(values)]
        Path(f"{name}.csv").write_text("\n".join(["t,a,truth", *lines]) + "\n")
    options = ["--timestamp", "t", "--inputs", "a"]
    answer(capsys, "reference", "build", "train.csv", "-o", "ref.json", *options, "--raw")
    options += ["--reference", "ref.json", "--compare", "ks_test", "--plot", "out.html"]
    for data, truth in (("train.csv", ["--changes-column", "truth"]), ("field.csv", ["--changes", "0"])):
        found = answer(capsys, "replay", data, *options, *truth)
        assert found["predictions"] == len(Path(data).read_text().splitlines()) - 1
        assert data == "field.csv" or not found["alarms"]
        assert main(["replay", data, *options, *truth]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        assert max(map(len, captured.out.splitlines())) <= 80


def test_features_of_the_reference_that_the_data_lack_are_named(capsys):
    built(capsys)
    recorded("field.csv", 400, seed=3)
    options = ["--reference", "ref.json", "--timestamp", "t", "--inputs", "colour", "--outputs", "y"]
    assert answer(capsys, "replay", "field.csv", *options)["absent"] == ["inputs.a"]
    assert main(["replay", "field.csv", *options]) == 0
    assert "inputs.a: in the reference, but no column" in capsys.readouterr().out
    assert answer(capsys, "replay", "field.csv", *CHANGED)["absent"] == []
