"""The configuration: what loads, what is refused and with which words, what is masked."""

from __future__ import annotations

import math
import os
import pickle
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_mlops_monitor.config import (
    SECTIONS,
    Config,
    ConfigError,
    find_config,
    load_config,
    save_default_config,
    state_directory,
)
from edge_mlops_monitor.config.template import commented_config

DOCS = Path(__file__).parent.parent / "docs"
OLD = """\
system: {sampling_interval_seconds: 10, max_memory_buffer_mb: 50}
model_logging: {buffer_size: 1000, log_level: INFO}
drift_detection:
  algorithm: ks_test
  threshold: 0.05
  reference_data_path: "reference_data.json"
  check_frequency: 100
telemetry:
  upload_interval_seconds: 300
  max_batch_size: 100
  retry_base_delay_seconds: 1
  retry_max_delay_seconds: 60
  retry_max_attempts: 5
storage:
  type: "s3"
  bucket: "your-telemetry-bucket"
  prefix: "edge-device-1/"
  sqlite_path: "edge_mlops_monitor.db"
  max_sqlite_size_mb: 100
"""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith("EDGE_MLOPS_MONITOR") or name in ("STATE_DIRECTORY", "XDG_CONFIG_HOME"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "config.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def complaint(mapping) -> str:
    with pytest.raises(ConfigError) as caught:
        Config.from_dict(mapping)
    return str(caught.value)


# --- what loads ---


def test_the_defaults_are_those_of_the_contract():
    config = load_config()
    assert config.enabled is True
    assert config.device_id == ""
    assert config.system.to_dict() == {"sampling_interval_seconds": 10, "max_memory_buffer_mb": 50}
    assert config.drift_detection.algorithm == "e_detector"
    assert config.drift_detection.false_alarms_per_month == 1
    assert config.drift_detection.learn_reference == 1000
    assert config.drift_detection.learn_reference_hours == 24
    assert config.telemetry.max_batch_bytes == 8388608
    assert config.storage.type == "sqlite"
    assert config.sinks == {}
    assert config.effective_sinks() == {}


def test_a_config_of_the_earlier_release_loads_with_its_meaning(tmp_path):
    config = load_config(written(tmp_path, OLD))
    assert config.storage.type == "s3"
    assert config.drift_detection.algorithm == "ks_test"
    assert config["model_logging"]["buffer_size"] == 1000
    assert config["telemetry"]["max_batch_size"] == 100
    assert config.without_effect() == []


def test_a_bucket_without_a_type_means_s3():
    config = Config.from_dict({"storage": {"bucket": "b", "prefix": "p/"}})
    assert config.storage.type == "s3"
    assert config.effective_sinks() == {"s3": {"type": "s3", "bucket": "b", "prefix": "p/"}}


def test_a_bucket_with_type_sqlite_stays_on_the_device():
    config = Config.from_dict({"storage": {"bucket": "b", "type": "sqlite"}})
    assert config.effective_sinks() == {}
    assert config.without_effect() == ["storage.bucket has no effect: storage.type is sqlite"]


def test_sections_answer_like_the_dicts_of_the_earlier_release():
    config = load_config()
    assert config["system"]["sampling_interval_seconds"] == 10
    assert "system" in config
    assert "nothing" not in config
    assert set(config["storage"]) >= {"type", "bucket", "prefix", "sqlite_path", "max_sqlite_size_mb"}
    assert config["storage"].get("nothing", 5) == 5
    assert dict(config["system"].items()) == {"sampling_interval_seconds": 10, "max_memory_buffer_mb": 50}
    with pytest.raises(KeyError):
        config["nothing"]
    with pytest.raises(KeyError):
        config["system"]["nothing"]


def test_an_empty_file_section_or_key_is_the_default(tmp_path):
    assert load_config(written(tmp_path, "")).system == load_config().system
    config = load_config(written(tmp_path, "system:\nstorage:\n  bucket:\n"))
    assert config.storage.bucket == ""
    assert config.storage.type == "sqlite"


def test_whole_numbers_may_be_written_with_a_point_and_levels_in_small_letters():
    config = Config.from_dict({"model_logging": {"buffer_size": 100.0, "log_level": "warn"}})
    assert config.model_logging.buffer_size == 100
    assert config.model_logging.log_level == "WARNING"


def test_a_config_goes_through_pickle_and_through_a_dict():
    config = Config.from_dict({"storage": {"bucket": "b"}, "sinks": {"a": {"type": "file", "path": "/x"}}})
    assert pickle.loads(pickle.dumps(config)) == config
    again = Config.from_dict(config.to_dict(masked=False))
    assert again.to_dict(masked=False) == config.to_dict(masked=False)


# --- where things live ---


def test_relative_paths_are_relative_to_the_config_file(tmp_path):
    text = "storage: {sqlite_path: data/x.db}\ndrift_detection: {reference_data_path: ref.json}\n"
    config = load_config(written(tmp_path, text + "sinks: {a: {type: file, path: out}}\n"))
    assert config.storage.sqlite_path == str(tmp_path / "data/x.db")
    assert config.drift_detection.reference_data_path == str(tmp_path / "ref.json")
    assert config.effective_sinks()["a"]["path"] == str(tmp_path / "out")


def test_the_default_database_is_beside_the_config_file(tmp_path):
    assert load_config(written(tmp_path, "{}")).storage.sqlite_path == str(tmp_path / "edge_mlops_monitor.db")


def test_without_a_file_state_lives_in_the_state_folder(tmp_path, monkeypatch):
    assert load_config().storage.sqlite_path == str(
        tmp_path / "state" / "edge-mlops-monitor" / "edge_mlops_monitor.db"
    )
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/edge:/var/lib/other")
    assert load_config().storage.sqlite_path == "/var/lib/edge/edge_mlops_monitor.db"


def test_a_relative_state_folder_is_ignored_as_the_specification_asks():
    environ = {"XDG_STATE_HOME": "here", "HOME": "/home/pi"}
    assert state_directory(environ) == Path("/home/pi/.local/state/edge-mlops-monitor")


def test_the_config_is_looked_for_in_the_promised_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    etc = Path("/etc/edge-mlops-monitor/config.yaml")
    assert find_config() == (etc if etc.exists() else None)
    xdg = tmp_path / "xdg" / "edge-mlops-monitor" / "config.yaml"
    xdg.parent.mkdir(parents=True)
    xdg.touch()
    assert find_config() == xdg
    Path("edge-mlops-monitor.yaml").touch()
    assert find_config() == Path("edge-mlops-monitor.yaml")
    monkeypatch.setenv("EDGE_MLOPS_MONITOR_CONFIG", "/not/there.yaml")
    assert find_config() == Path("/not/there.yaml")


# --- mistakes ---


def test_every_mistake_is_reported_at_once_with_its_remedy():
    text = complaint(
        {
            "system": {"sampling_interval_seconds": 0, "max_memory_bufer_mb": 1},
            "telemetri": {},
            "telemetry": {"bucket": "b", "retry_max_attempts": "5"},
            "storage": {"type": "s3", "prefix": 2024},
            "device_id": "a b",
            "sinks": {"a": {}},
        }
    )
    for sentence in (
        "unknown key 'telemetri'; did you mean 'telemetry'?",
        "unknown key 'max_memory_bufer_mb' in system; did you mean 'max_memory_buffer_mb'?",
        "system.sampling_interval_seconds is 0; use a number from 0.1 to 31536000 (default: 10)",
        "unknown key 'bucket' in telemetry; it belongs in the section 'storage'",
        "telemetry.retry_max_attempts is '5'; use a whole number",
        "storage.prefix is 2024; write it in quotes",
        "storage.type is s3 and storage.bucket is empty; name the bucket",
        "device_id 'a b' is not valid; use 1 to 64 letters",
        "sinks.a has no type; give it one",
    ):
        assert sentence in text
    assert text.startswith("9 mistakes")


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("system", "sampling_interval_seconds", math.nan),
        ("system", "sampling_interval_seconds", math.inf),
        ("system", "sampling_interval_seconds", 10**400),
        ("system", "max_memory_buffer_mb", True),
        ("model_logging", "sample_rate", 1.5),
        ("model_logging", "log_level", "LOUD"),
        ("model_logging", "redact", {"a": "erase"}),
        ("model_logging", "redact", {"a": "truncate:"}),
        ("model_logging", "store_error_text", "yes"),
        ("drift_detection", "threshold", 1),
        ("drift_detection", "algorithm", "magic"),
        ("drift_detection", "false_alarms_per_month", 0),
        ("telemetry", "max_batch_size", 1.5),
        ("storage", "type", "tape"),
        ("storage", "sqlite_path", "a\0b"),
        ("storage", "bucket", "\ud800"),
        ("storage", "bucket", ["a"]),
        ("storage", "max_sqlite_size_mb", 0),
    ],
)
def test_a_wrong_value_is_named_by_its_key(section, key, value):
    text = complaint({section: {key: value}})
    assert f"{section}.{key}" in text
    assert "\n" not in text


def test_a_section_that_is_no_mapping_is_named():
    assert "system is 5; it is a section, with keys such as sampling_interval_seconds" in complaint(
        {"system": 5}
    )


def test_a_key_at_the_top_that_belongs_in_a_section_is_told_so():
    assert "it belongs in the section 'storage'" in complaint({"bucket": "b"})


def test_access_key_and_secret_belong_together():
    text = complaint({"storage": {"bucket": "b", "access_key_id": "AKIAXYZ"}})
    assert "belong together" in text
    assert "AKIAXYZ" not in text


def test_two_sinks_of_one_name_are_refused():
    assert "give sinks.s3 another name" in complaint(
        {"storage": {"bucket": "b"}, "sinks": {"s3": {"type": "s3"}}}
    )


# --- files that are no config ---


def test_a_missing_file_is_named_with_its_remedy(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"there is no config file .*nope\.yaml; .*edge-mlops-monitor init"
    ):
        load_config(tmp_path / "nope.yaml")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("system: [1\nstorage: x", "line 2, column 8: this is not valid YAML"),
        ("a: b: c", "line 1, column 5: this is not valid YAML"),
        ("system: {sampling_interval_seconds: 1}\nsystem: {}\n", "line 2, column 1: .*given twice"),
        ("- a\n- b\n", "holds a list, not a mapping"),
        ("just words", "holds a text, not a mapping"),
        ("7", "holds a single value"),
        (
            "version: '3'\nservices: {web: {image: nginx}}\n",
            "config of another program .it has version, services",
        ),
        (b"\xff\xfe\x00\x01", "byte 0 is not UTF-8"),
        (b"a: \x00", "characters or values that YAML does not have"),
        ("a: 2024-99-99", "values that YAML does not have"),
        ("[" * 60_000, "nested too deeply"),
        ("storage: &s {type: *s}", "storage.type is a mapping"),
        ("sinks: {a: &s {type: file, path: *s}}", "sinks.a.path holds something"),
        (b"#" * (100 << 20), "larger than 256 KiB"),
    ],
)
def test_a_file_that_is_no_config_is_explained_in_one_sentence(tmp_path, content, words):
    path = written(tmp_path, content)
    with pytest.raises(ConfigError, match=words) as caught:
        load_config(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_folder_is_explained(tmp_path):
    with pytest.raises(ConfigError, match="a folder, not a file"):
        load_config(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_explained(tmp_path):
    path = written(tmp_path, "{}")
    path.chmod(0)
    with pytest.raises(ConfigError, match="Permission denied"):
        load_config(path)


def test_a_broken_file_is_not_quoted_since_it_may_hold_secrets(tmp_path):
    for text in ("storage: {secret_access_key: *hunter2}", "storage: {secret_access_key: !hunter2 x}"):
        with pytest.raises(ConfigError) as caught:
            load_config(written(tmp_path, text))
        assert "hunter2" not in str(caught.value)


# --- environment ---


def test_the_environment_overrides_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_MLOPS_MONITOR__SYSTEM__SAMPLING_INTERVAL_SECONDS", "2.5")
    monkeypatch.setenv("EDGE_MLOPS_MONITOR__ENABLED", "false")
    monkeypatch.setenv("EDGE_MLOPS_MONITOR__DEVICE_ID", "007")
    monkeypatch.setenv("EDGE_MLOPS_MONITOR__MODEL_LOGGING__REDACT", '{"inputs.name": drop}')
    config = load_config(written(tmp_path, "system: {sampling_interval_seconds: 9, max_memory_buffer_mb: 7}"))
    assert config.system.sampling_interval_seconds == 2.5
    assert config.system.max_memory_buffer_mb == 7
    assert config.enabled is False
    assert config.device_id == "007"
    assert config.model_logging.redact == {"inputs.name": "drop"}


def test_the_environment_reaches_into_sinks_and_leaves_passwords_as_text(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_MLOPS_MONITOR__SINKS__CLOUD__PASSWORD", "12345")
    monkeypatch.setenv("EDGE_MLOPS_MONITOR__SINKS__CLOUD__PORT", "8883")
    config = load_config(written(tmp_path, "sinks: {Cloud: {type: mqtt, host: broker}}"))
    assert config.sinks == {"Cloud": {"type": "mqtt", "host": "broker", "password": "12345", "port": 8883}}


def test_a_mistake_in_the_environment_names_its_variable(monkeypatch):
    monkeypatch.setenv("EDGE_MLOPS_MONITOR__SYSTEM__SAMPLING_INTERVAL_SECONDS", "often")
    with pytest.raises(ConfigError, match=r"\(from EDGE_MLOPS_MONITOR__SYSTEM__SAMPLING_INTERVAL_SECONDS\)"):
        load_config()


@pytest.mark.parametrize(
    "variable", ["EDGE_MLOPS_MONITOR__", "EDGE_MLOPS_MONITOR__A__", "EDGE_MLOPS_MONITOR__A__B"]
)
def test_a_variable_that_names_no_key_is_named(monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    with pytest.raises(ConfigError, match=variable):
        load_config()


def test_a_variable_that_is_no_yaml_is_named(monkeypatch):
    monkeypatch.setenv("EDGE_MLOPS_MONITOR__SYSTEM__MAX_MEMORY_BUFFER_MB", "[1")
    with pytest.raises(ConfigError, match="MAX_MEMORY_BUFFER_MB is not a YAML value"):
        load_config()


# --- secrets ---


def test_secrets_are_masked_wherever_a_config_is_shown():
    config = Config.from_dict(
        {
            "model_logging": {"redact": {"inputs.user_key": "hash"}, "redact_key": "hunter2"},
            "storage": {
                "bucket": "b",
                "access_key_id": "hunter2",
                "secret_access_key": "hunter2",
                "endpoint_url": "https://pi:hunter2@store.example/?token=hunter2&n=1",
            },
            "sinks": {
                "q": {
                    "type": "mqtt",
                    "password": "hunter2",
                    "headers": {"Authorization": "hunter2"},
                    "port": 1,
                },
                "w": {"type": "http", "url": "http://hunter2@h/x", "tokens": ["hunter2", {"a": "hunter2"}]},
            },
        }
    )
    for shown in (
        repr(config),
        str(config),
        repr(config.storage),
        str(config.to_dict()),
        repr(config["storage"]),
    ):
        assert "hunter2" not in shown
    assert config.to_dict()["sinks"]["q"]["port"] == 1
    assert config.to_dict()["model_logging"]["redact"] == {"inputs.user_key": "hash"}
    assert config.storage.endpoint_url.startswith("https://pi:hunter2@")
    assert config.to_dict(masked=False)["storage"]["secret_access_key"] == "hunter2"


def test_secrets_are_not_in_error_messages():
    text = complaint(
        {
            "storage": {
                "secret_access_key": 1234567,
                "type": "https://a:hunter2@b/",
                "bucket": {"hunter2": 1},
            },
            "model_logging": {"redact_key": ["hunter2"]},
        }
    )
    assert "hunter2" not in text
    assert "1234567" not in text


# --- no effect ---


@pytest.mark.parametrize(
    ("mapping", "key"),
    [
        ({"drift_detection": {"threshold": 0.01}}, "drift_detection.threshold"),
        ({"drift_detection": {"check_frequency": 10}}, "drift_detection.check_frequency"),
        (
            {"drift_detection": {"algorithm": "ks_test", "minimum_effect": 1}},
            "drift_detection.minimum_effect",
        ),
        (
            {"drift_detection": {"average_run_length": 10**6, "false_alarms_per_month": 2}},
            "drift_detection.false_alarms_per_month",
        ),
        ({"telemetry": {"max_batch_size": 10}}, "telemetry.max_batch_size"),
        ({"model_logging": {"redact_key": "x"}}, "model_logging.redact_key"),
        ({"storage": {"type": "file", "path": "/x", "region": "eu"}}, "storage.region"),
        ({"enabled": False, "system": {"sampling_interval_seconds": 1}}, "system.sampling_interval_seconds"),
        (
            {"storage": {"bucket": "b"}, "telemetry": {"retry_base_delay_seconds": 100}},
            "telemetry.retry_base_delay_seconds",
        ),
    ],
)
def test_a_key_without_effect_is_named_with_the_reason(mapping, key):
    (sentence,) = Config.from_dict(mapping).without_effect()
    assert sentence.startswith(f"{key} has no effect: ")


# --- the file that init writes, and the documentation ---


def test_the_default_config_loads_to_the_defaults_and_has_no_idle_key(tmp_path):
    path = tmp_path / "new.yaml"
    save_default_config(path)
    config = load_config(path)
    plain = {**load_config().to_dict()}
    found = config.to_dict()
    found["storage"]["sqlite_path"] = plain["storage"]["sqlite_path"]
    assert found == plain
    assert config.without_effect() == []


def test_the_default_config_holds_every_key_ready_to_be_uncommented():
    text = commented_config()
    every = {f"{name}.{key}" for name, section in SECTIONS.items() for key in section.__struct_fields__}
    names = "|".join(sorted({dotted.partition(".")[2] for dotted in every}))
    active, _ = re.subn(rf"^  # ({names}): ", r"  \1: ", text, flags=re.MULTILINE)
    assert Config.from_dict(yaml.safe_load(active)).given == every


# --- anything at all ---

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.dates(),
    st.just(object()),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
keys = st.one_of(
    st.sampled_from([key for section in SECTIONS.values() for key in section.__struct_fields__]), st.text()
)
sections = st.one_of(values, st.dictionaries(keys, values, max_size=6))
configs = st.dictionaries(
    st.one_of(
        st.sampled_from(["enabled", "device_id", "sinks", *SECTIONS]), st.text(), st.integers(), st.none()
    ),
    sections,
    max_size=6,
)


@settings(max_examples=300, deadline=None)
@given(configs)
def test_any_mapping_loads_or_is_a_config_error(mapping):
    try:
        config = Config.from_dict(mapping)
    except ConfigError as error:
        str(error).encode()
    else:
        repr(config).encode()
        config.without_effect()
        config.effective_sinks()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_in_a_file_load_or_are_a_config_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    try:
        load_config(path)
    except ConfigError as error:
        str(error).encode()
