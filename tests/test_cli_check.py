"""`check`: each finding with its remedy, nothing created, the exit status."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edge_mlops_monitor.cli import main
from edge_mlops_monitor.cli.findings import EXTRAS, of_clock, of_database, of_sqlite
from edge_mlops_monitor.clock import ManualClock
from edge_mlops_monitor.store import Store


@pytest.fixture(autouse=True)
def _apart(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("EDGE_MLOPS_MONITOR", "AWS_")) or name == "STATE_DIRECTORY":
            monkeypatch.delenv(name)
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.chdir(tmp_path)


def checked(capsys, text: str | None = None, *options: str) -> tuple[int, list[dict[str, str]]]:
    arguments = ["check", "--json", *options]
    if text is not None:
        Path("c.yaml").write_text(text)
        Path("c.yaml").chmod(0o600)
        arguments += ["--config", "c.yaml"]
    status = main(arguments)
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is (status == 0)
    return status, answer["findings"]


def bad(findings, subject: str) -> str:
    return "\n".join(
        f"{found['message']} -> {found['remedy']}"
        for found in findings
        if found["subject"] == subject and found["status"] in ("failed", "warning")
    )


def test_every_extra_for_users_is_one_that_check_looks_for(project):
    tomllib = pytest.importorskip("tomllib", reason="comes with Python 3.11")
    settings = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert set(settings["optional-dependencies"]) - {"test", "docs", "dev"} == set(EXTRAS)


def test_without_a_config_nothing_fails_and_nothing_is_created(capsys, tmp_path):
    status, findings = checked(capsys)
    assert status == 0
    assert {found["subject"] for found in findings} >= {
        "config",
        "device",
        "database",
        "disk",
        "sqlite",
        "clock",
        "reference",
        "extras",
    }
    assert list(tmp_path.rglob("*.db*")) == []


def test_a_wrong_config_is_every_mistake_and_exit_status_2(capsys):
    status, findings = checked(capsys, "systm: {}\ntelemetry: {retry_max_attempts: 0}\n")
    assert status == 2
    assert "unknown key 'systm' -> did you mean 'system'?" in bad(findings, "config")
    assert "retry_max_attempts is 0 -> use a whole number" in bad(findings, "config")


def test_a_missing_config_is_a_finding(capsys):
    assert main(["check", "--config", "none.yaml", "--json"]) == 2
    assert "edge-mlops-monitor init" in capsys.readouterr().out


def test_keys_without_effect_and_a_prefix_without_slash_are_named(capsys):
    text = "drift_detection: {threshold: 0.1}\nstorage: {type: file, path: out, prefix: a}\n"
    status, findings = checked(capsys, text)
    assert status == 0
    assert "drift_detection.threshold has no effect" in bad(findings, "config")
    assert "keys begin with 'av1/' -> end it with a slash" in bad(findings, "config")


def test_secrets_that_others_may_read_are_named_and_never_shown(capsys):
    text = "sinks: {a: {type: file, path: out}}\nmodel_logging: {redact: {x: hash}, redact_key: hunter2}\n"
    assert bad(checked(capsys, text)[1], "config") == ""
    Path("c.yaml").chmod(0o644)
    assert main(["check", "--config", "c.yaml"]) == 0
    out = capsys.readouterr().out
    assert "chmod 600" in out
    assert "hunter2" not in out


def test_a_monitor_that_is_switched_off_is_said(capsys, monkeypatch):
    assert "enabled is false" in bad(checked(capsys, "enabled: false")[1], "config")
    monkeypatch.setenv("EDGE_MLOPS_MONITOR_DISABLED", "1")
    assert "EDGE_MLOPS_MONITOR_DISABLED is set" in bad(checked(capsys)[1], "config")


@pytest.mark.parametrize(
    ("sink", "words"),
    [
        ("{type: fil, path: out}", "unknown sink 'fil' -> did you mean 'file'?"),
        ("{type: file, folder: out}", "no key 'folder'"),
        ("{type: file}", "path"),
    ],
)
def test_a_sink_that_cannot_be_built_fails_with_its_remedy(capsys, sink, words):
    status, findings = checked(capsys, f"sinks: {{a: {sink}}}")
    assert status == 1
    assert words in bad(findings, "sink a")


def test_a_sink_that_cannot_be_reached_fails_unless_offline(capsys):
    pytest.importorskip("obstore")
    text = "storage: {bucket: b, endpoint_url: 'http://127.0.0.1:1', access_key_id: a, secret_access_key: b}"
    status, findings = checked(capsys, text)
    assert status == 1
    assert "cannot be reached" in bad(findings, "sink s3")
    assert "kept on the device" in bad(findings, "sink s3")
    assert checked(capsys, text, "--offline")[0] == 0


def test_a_missing_reference_fails_and_a_good_one_is_counted(capsys):
    text = "drift_detection: {reference_data_path: r.json}"
    status, findings = checked(capsys, text)
    assert status == 1
    assert "reference build" in bad(findings, "reference")
    Path("r.json").write_text(json.dumps({"a": [i * 37 % 101 / 7 for i in range(200)]}))
    status, findings = checked(capsys, text)
    assert status == 0
    assert any("holds 1 features" in found["message"] for found in findings)


def test_a_database_of_another_program_or_open_to_others_is_named(tmp_path):
    foreign = tmp_path / "x.db"
    foreign.write_text("not a database at all, by any means")
    assert next(of_database(foreign, 1)).status == "failed"
    Store(tmp_path / "m.db", device_id="pi").close()
    assert next(of_database(tmp_path / "m.db", 1)).status == "ok"
    (tmp_path / "m.db").chmod(0o644)
    assert next(of_database(tmp_path / "m.db", 1)).remedy.startswith("chmod 600")


def test_a_device_is_named_as_it_uploads(capsys, tmp_path):
    def named(text: str = "{}\n") -> str:
        findings = checked(capsys, text)[1]
        return next(found["message"] for found in findings if found["subject"] == "device")

    Store(tmp_path / "edge_mlops_monitor.db", device_id="as-before").close()
    assert named() == "as-before (kept in the database)"
    assert named("device_id: press-7\n") == "press-7 (from the config)"


def test_too_little_disk_space_is_named(tmp_path):
    assert any(
        "lower storage.max_sqlite_size_mb" in found.remedy for found in of_database(tmp_path / "m.db", 1e9)
    )


def test_an_affected_sqlite_is_explained_and_an_old_one_refused():
    assert "rollback journal" in next(of_sqlite((3, 40, 1))).message
    assert "rollback journal" not in next(of_sqlite((3, 51, 3))).message
    assert "rollback journal" not in next(of_sqlite((3, 44, 6))).message
    assert next(of_sqlite((3, 7, 17))).status == "failed"


def test_a_clock_that_is_not_synchronised_is_a_warning():
    assert next(of_clock(ManualClock(synchronised=False))).status == "warning"
    assert next(of_clock(ManualClock())).status == "ok"


def test_the_text_fits_80_columns_and_ends_with_a_summary(capsys):
    Path("c.yaml").write_text("sinks: {a: {type: fil}}\ndrift_detection: {threshold: 0.1}\n")
    assert main(["check", "--config", "c.yaml"]) == 1
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "1 failed" in out.splitlines()[-1]
