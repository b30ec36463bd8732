"""What can be set: every key once, with its type, bounds, default and meaning.

The descriptions here are the only ones: the file that `init` writes and the tables of
docs/configuration.md (by docs/tables.py) are made from them. Adding a key is adding a line here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from edge_mlops_monitor.config.masking import masked

Treatment = Annotated[str, Meta(pattern=r"^(drop|hash|truncate:[0-9]{1,6})\Z")]
Gigabytes5 = 5_000_000_000  # the largest object that S3 takes in one request


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """One section of a config; its keys are attributes and also items, as in 0.1.1.

    >>> System()["sampling_interval_seconds"] == System().sampling_interval_seconds
    True
    """

    title: ClassVar[str] = ""

    def __getitem__(self, key: str) -> Any:
        if key in self.__struct_fields__:
            return getattr(self, key)
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self.__struct_fields__)

    def __len__(self) -> int:
        return len(self.__struct_fields__)

    def __contains__(self, key: object) -> bool:
        return key in self.__struct_fields__

    def keys(self) -> tuple[str, ...]:
        """The names of the keys."""
        return self.__struct_fields__

    def items(self) -> list[tuple[str, Any]]:
        """Pairs of key and value."""
        return [(key, getattr(self, key)) for key in self.__struct_fields__]

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, or `default` where there is no such key."""
        return getattr(self, key) if key in self else default

    def to_dict(self, masked: bool = True) -> dict[str, Any]:
        """The section as a plain dict, secrets as `***` unless `masked` is False."""
        values = dict(self.items())
        return _masked(values) if masked else values

    def __repr__(self) -> str:
        values = ", ".join(f"{key}={value!r}" for key, value in self.to_dict().items())
        return f"{type(self).__name__}({values})"

    __str__ = __repr__


def _masked(values: dict[str, Any]) -> dict[str, Any]:
    return {key: masked(value, key) for key, value in values.items()}


class System(Section, frozen=True, kw_only=True):
    """The `system` section."""

    title: ClassVar[str] = "Measurements of the device: CPU, memory, disk, network, temperature."

    sampling_interval_seconds: Annotated[
        float, Meta(ge=0.1, le=31_536_000, description="Seconds between two measurements of the device.")
    ] = 10
    max_memory_buffer_mb: Annotated[
        float,
        Meta(
            ge=1,
            le=1_000_000,
            description="Bound of all that waits in memory, in MB; what is over it is dropped and counted.",
        ),
    ] = 50


class ModelLogging(Section, frozen=True, kw_only=True):
    """The `model_logging` section."""

    title: ClassVar[str] = "What is recorded of each prediction, and what must not be."

    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
        Meta(description="Least severe level of the package's own log lines."),
    ] = "INFO"
    sample_rate: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Share of the predictions that is recorded; one that failed is always recorded.",
        ),
    ] = 1.0
    sample_every: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000_000)] | None,
        Meta(description="Record every n-th prediction only; empty: all."),
    ] = None
    sample_per_minute: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000_000)] | None,
        Meta(description="Record at most so many predictions a minute; empty: no limit."),
    ] = None
    flush_interval_seconds: Annotated[
        float,
        Meta(
            ge=0.01,
            le=3600,
            description="Seconds until what was logged is on stable storage: what a power cut can cost.",
        ),
    ] = 5
    buffer_size: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000_000)] | None,
        Meta(
            description="Keep at most so many predictions on the device, once no sink is waiting for them; "
            "empty: only max_sqlite_size_mb bounds them."
        ),
    ] = None
    profile_minutes: Annotated[
        int,
        Meta(
            ge=0,
            le=10_080,
            description="Length of the windows whose counts, moments and quantiles are kept as profiles of "
            "each feature; 0: none.",
        ),
    ] = 60
    redact: Annotated[
        dict[str, Treatment],
        Meta(
            description="What happens to features before anything is stored or learned: name pattern -> "
            'drop | hash | truncate:N, for example {"inputs.user_*": hash}.'
        ),
    ] = {}
    redact_key: Annotated[
        str,
        Meta(
            description="Secret key of hash, to get the same hashes on several devices; empty: a random one "
            "that never leaves the device."
        ),
    ] = ""
    store_error_text: Annotated[
        bool,
        Meta(
            description="Record the text of an exception besides its type; such texts often quote the inputs."
        ),
    ] = False
    raw_capture_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=67_108_864,
            description="Record arrays up to so many bytes as they are instead of as a summary; 0: never.",
        ),
    ] = 0


class DriftDetection(Section, frozen=True, kw_only=True):
    """The `drift_detection` section."""

    title: ClassVar[str] = "When data or a model counts as changed."

    algorithm: Annotated[
        Literal["e_detector", "ks_test"],
        Meta(
            description="e_detector keeps to the budget of false alarms; ks_test compares every window with "
            "threshold, as 0.1.1 did, and raises many false alarms."
        ),
    ] = "e_detector"
    false_alarms_per_month: Annotated[
        float,
        Meta(
            gt=0,
            le=100_000,
            description="False alarms that a healthy device may raise, all features and checks together.",
        ),
    ] = 1
    average_run_length: Annotated[
        Annotated[float, Meta(ge=1, le=1e15)] | None,
        Meta(
            description="The budget as predictions between two false alarms of the whole device; takes the "
            "place of false_alarms_per_month."
        ),
    ] = None
    threshold: Annotated[
        float, Meta(gt=0, lt=1, description="Level of ks_test: a p-value below it is reported as drift.")
    ] = 0.05
    minimum_effect: Annotated[
        float,
        Meta(
            ge=0,
            le=1000,
            description="Smallest change that is worth an alarm: Cohen's w, about standard deviations.",
        ),
    ] = 0.1
    reference_data_path: Annotated[
        str,
        Meta(
            description="A file made by `reference build`, or the JSON of 0.1.1 ({feature: [value, ...]}); "
            "empty: learned on the device."
        ),
    ] = ""
    learn_reference: Annotated[
        int,
        Meta(
            ge=20,
            le=1_000_000,
            description="Predictions from which a missing reference is learned, for each model and source. "
            "All of them are kept meanwhile, in 8 bytes a feature each, where these are more than 1000.",
        ),
    ] = 1000
    learn_reference_hours: Annotated[
        float,
        Meta(
            ge=0,
            le=8760,
            description="Hours that learning takes at least: a reference that has not seen the night cannot "
            "know it.",
        ),
    ] = 24
    context: Annotated[
        str,
        Meta(
            max_length=200,
            description="What normal depends on, where a reference is learned: hour_of_day (learned over a "
            "week), or the name of a feature such as a recipe; empty: nothing.",
        ),
    ] = ""
    rebaseline_after_hours: Annotated[
        float,
        Meta(
            ge=0,
            le=87_600,
            description="Hours after which a change that was acknowledged and lasts is learned as the new "
            "normal; 0: never.",
        ),
    ] = 0
    check_frequency: Annotated[
        int,
        Meta(ge=1, le=1_000_000, description="Predictions between two checks, and the window of ks_test."),
    ] = 100


class Telemetry(Section, frozen=True, kw_only=True):
    """The `telemetry` section."""

    title: ClassVar[str] = "How what is stored is uploaded."

    upload_interval_seconds: Annotated[
        float, Meta(ge=0.1, le=31_536_000, description="Seconds between two uploads.")
    ] = 300
    max_batch_size: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Records in one uploaded object, at most.")
    ] = 10_000
    max_batch_bytes: Annotated[
        int,
        Meta(ge=1024, le=Gigabytes5, description="Bytes of one uploaded object before compression, at most."),
    ] = 8_388_608
    retry_base_delay_seconds: Annotated[
        float, Meta(ge=0, le=86_400, description="First wait after a failed attempt; it doubles with each.")
    ] = 1
    retry_max_delay_seconds: Annotated[
        float, Meta(ge=0, le=86_400, description="Longest wait between two attempts.")
    ] = 60
    retry_max_attempts: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="Attempts in one round; what did not go is kept for the next round.",
        ),
    ] = 5


class Storage(Section, frozen=True, kw_only=True):
    """The `storage` section."""

    title: ClassVar[str] = "Where records are kept on the device, and the short form of one sink."

    type: Annotated[
        Literal["sqlite", "s3", "file"],
        Meta(
            description="sqlite keeps all on the device; s3 uploads to bucket, file to the folder path. "
            "A bucket without a type means s3."
        ),
    ] = "sqlite"
    bucket: Annotated[str, Meta(description="Name of the S3 bucket.")] = ""
    prefix: Annotated[
        str, Meta(description="What the uploaded keys begin with, with the slash: site-a/.")
    ] = ""
    region: Annotated[str, Meta(description="Region of the bucket; empty: as the environment says.")] = ""
    endpoint_url: Annotated[
        str, Meta(description="Address of an S3-compatible store (MinIO, Ceph, R2); empty: Amazon's.")
    ] = ""
    access_key_id: Annotated[
        str,
        Meta(description="Access key; empty: AWS_ACCESS_KEY_ID of the environment."),
    ] = ""
    secret_access_key: Annotated[str, Meta(description="Its secret; empty: AWS_SECRET_ACCESS_KEY.")] = ""
    path: Annotated[str, Meta(description="Folder that type file uploads to.")] = ""
    sqlite_path: Annotated[
        str, Meta(min_length=1, description="The database on the device; created when first written to.")
    ] = "edge_mlops_monitor.db"
    max_sqlite_size_mb: Annotated[
        float,
        Meta(
            ge=1,
            le=10_000_000,
            description="Bound of the database on disk, in MB; the oldest goes first, and is declared where "
            "no sink had it.",
        ),
    ] = 100
