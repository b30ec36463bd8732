"""The command line as a whole: start-up, mistakes, documentation."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import click
import pytest

from edge_mlops_monitor.cli import main, progress
from edge_mlops_monitor.cli.application import COMMANDS, application
from edge_mlops_monitor.config import load_config

DOCS = Path(__file__).parent.parent / "docs" / "commands.md"


@pytest.fixture(autouse=True)
def _apart(monkeypatch, tmp_path):
    """Each test in a folder of its own, away from the user's config and state."""
    for name in list(os.environ):
        if name.startswith("EDGE_MLOPS_MONITOR") or name == "STATE_DIRECTORY":
            monkeypatch.delenv(name)
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.chdir(tmp_path)


def walk(command: click.Command, name: str, context: click.Context):
    yield name, command
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            yield from walk(found, f"{name} {child}".strip(), context)


def every_command():
    return list(walk(application, "", click.Context(application)))


def process(*arguments: str, **keywords) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_mlops_monitor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **keywords)


def test_every_command_and_option_is_documented():
    sections = dict(
        re.findall(r"^## `([a-z ]+?)[ `].*?\n(.*?)(?=^## |\Z)", DOCS.read_text(), re.DOTALL | re.MULTILINE)
    )
    text = DOCS.read_text()
    seen = 0
    for name, command in every_command():
        section = text if not name else section_of(text, name)
        assert section, f"docs/commands.md has no section for '{name}'"
        for parameter in command.params:
            for option in parameter.opts if isinstance(parameter, click.Option) else []:
                assert f"`{option}" in section, f"docs/commands.md does not describe {option} of '{name}'"
                seen += 1
    assert seen > 40
    assert len(sections) >= len(COMMANDS)


def section_of(text: str, name: str) -> str:
    """The part of the page under the heading of a command, and what is said of all of them."""
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    return "".join(
        part for part in parts if part.startswith((f"## `{name} ", f"## `{name}`", "## Options of all"))
    )


def test_every_option_has_a_help_text():
    for name, command in every_command():
        assert command.help, name
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts}"


def test_every_command_takes_config_and_shows_help(capsys):
    for name, command in every_command():
        if not isinstance(command, click.Group):
            assert any("--config" in parameter.opts for parameter in command.params), name
        assert main([*name.split(), "--help"]) == 0
    assert "--config" in capsys.readouterr().out


def test_help_and_version_import_neither_numpy_nor_rich():
    code = (
        "import sys; from edge_mlops_monitor.cli import main; main(['--help']); main(['--version']);"
        "bad = {'numpy', 'rich', 'yaml', 'obstore', 'pyarrow'} & set(sys.modules);"
        "sys.exit(f'{bad}' if bad else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "words", "status"),
    [
        (["statsu"], "there is no command 'statsu'; did you mean 'status'?", 2),
        (["export", "--knid", "x"], "no such option.*'?--knid'?", 2),
        (["export", "--kind", "x"], "'x' is not one of", 2),
        (["export", "--since", "tomorrow"], "'tomorrow' is no time; write 2026-01-31", 2),
        (
            ["export", "--config", "none.yaml"],
            "there is no config file .*none.yaml; .* edge-mlops-monitor init",
            2,
        ),
        (["export", "--since", "0001-01-01T00:00"], "0001-01-01T00:00", 2),
        (["export"], "there is no database at", 1),
        (["status"], "there is no database at", 1),
        (["export", "extra"], "unexpected extra argument", 2),
    ],
)
def test_a_mistake_is_one_sentence_on_standard_error(capsys, arguments, words, status):
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.search(words, captured.err)
    assert captured.err.startswith("edge-mlops-monitor: ")
    assert captured.err.count("\n") == 1


def test_the_config_is_also_taken_before_the_command(capsys):
    assert main(["--config", "none.yaml", "export"]) == 2
    assert "none.yaml" in capsys.readouterr().err


def test_a_bug_is_a_sentence_too_and_a_traceback_on_request(capsys, monkeypatch):
    monkeypatch.setitem(COMMANDS, "status", "nowhere:status")
    assert main(["status"]) == 1
    assert "EDGE_MLOPS_MONITOR_TRACEBACK=1" in capsys.readouterr().err
    monkeypatch.setenv("EDGE_MLOPS_MONITOR_TRACEBACK", "1")
    with pytest.raises(ModuleNotFoundError):
        main(["status"])


def test_the_module_is_the_command():
    done = process("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("edge-mlops-monitor 0.")


# --- progress ---


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_takes_long_shows_a_bar_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", -1.0)
    with progress.shares("replaying week.csv") as tell:
        tell(0.25)
        tell(1.0)
    assert "replaying week.csv" in sys.stderr.getvalue()


def test_what_is_soon_done_shows_none(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 1e9)
    with progress.progress("exporting", 10) as advance:
        advance(10)
    assert sys.stderr.getvalue() == ""


def test_nothing_is_drawn_where_there_is_no_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", -1.0)
    with progress.progress("exporting", 10) as advance:
        advance(5)
    assert sys.stderr.getvalue() == ""


def test_the_arguments_of_the_demo_reach_the_story(monkeypatch, tmp_path):
    told = {}
    story = types.SimpleNamespace(run=lambda **given: told.update(given) or 0)
    monkeypatch.setitem(sys.modules, "edge_mlops_monitor.demo", story)
    assert main(["demo", "--seconds", "20", "-o", str(tmp_path), "--json"]) == 0
    assert told == {"seconds": 20.0, "out": tmp_path, "json": True}


# --- init ---


def test_init_writes_a_config_that_loads(capsys, tmp_path):
    assert main(["init"]) == 0
    assert load_config("edge-mlops-monitor.yaml").without_effect() == []
    assert "edge-mlops-monitor check" in capsys.readouterr().out
    assert main(["init", str(tmp_path / "other.yaml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"path": str(tmp_path / "other.yaml")}


def test_init_replaces_nothing_unless_forced(capsys):
    Path("mine.yaml").write_text("enabled: false\n")
    assert main(["init", "mine.yaml"]) == 1
    assert "already there; replace it with --force" in capsys.readouterr().err
    assert Path("mine.yaml").read_text() == "enabled: false\n"
    assert main(["init", "mine.yaml", "--force"]) == 0
    assert load_config("mine.yaml").enabled


def test_init_takes_a_folder_and_names_a_missing_one(capsys, tmp_path):
    assert main(["init", str(tmp_path)]) == 0
    assert (tmp_path / "edge-mlops-monitor.yaml").exists()
    assert main(["init", "no/where.yaml"]) == 1
    assert "there is no folder no; create it" in capsys.readouterr().err
