"""`EdgeMonitor`: what a model program holds.

The promise to the host program: after construction no logging call raises, blocks on disk or network,
changes what it was given, or keeps a reference to something the caller may change. What cannot be recorded
becomes a stub and a count.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, cast

from edge_mlops_monitor.capture.watch import Select, Watch
from edge_mlops_monitor.config import Config, load_config
from edge_mlops_monitor.moments import as_moment
from edge_mlops_monitor.records import Actual, DriftResult, Event, Prediction, Profile, Record, SystemMetric
from edge_mlops_monitor.runtime import Runtime

When = datetime | float | str | None
R = TypeVar("R", bound=Record)


class EdgeMonitor:
    """Watches the models of this device.

    `config_path` names a config file; without one everything stays on the device, in a local database.
    `config` gives the same as a mapping. Raises ConfigError with every mistake of the config at once, and
    FileNotFoundError for a missing file; nothing after that raises. `enabled: false` in the config, or
    `EDGE_MLOPS_MONITOR_DISABLED=1`, turns everything off; ids are still returned.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with EdgeMonitor(config={"storage": {"sqlite_path": folder + "/monitor.db"}}) as monitor:
    ...     @monitor.watch(model="doubler", model_version="1")
    ...     def predict(x):
    ...         return {"y": 2 * x}
    ...     _ = predict(21)
    ...     _ = monitor.flush()
    ...     [(p.model, p.inputs, p.outputs) for p in monitor.predictions()]
    [('doubler', {'x': 21}, {'y': 42})]
    """

    def __init__(
        self,
        config_path: str | os.PathLike[str] | None = None,
        device_id: str = "",
        *,
        config: Config | Mapping[str, Any] | None = None,
    ) -> None:
        self.config = _config(config_path, device_id, config)
        self._runtime = Runtime(self.config)
        # One frame less on the hot path: the instance's `log_prediction` is the recorder's own.
        vars(self)["log_prediction"] = self._runtime.recorder.log_prediction

    # - on and off -

    def start(self) -> None:
        """Start everything in the background; does nothing where it runs."""
        self.start_system_monitoring()
        self._runtime.start_deciding()
        self.start_telemetry_upload()

    def stop(self) -> None:
        """Stop everything in the background, with what was logged on stable storage.

        Takes 5 seconds at most, whatever hangs, and never waits for the network. What could not be stored by
        then is counted in a warning. Like what is logged afterwards it is kept, and written at the next
        start, flush or at exit.
        """
        self._runtime.stop()

    def __enter__(self) -> EdgeMonitor:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start_system_monitoring(self) -> None:
        """Start measuring the device in the background."""
        self._runtime.start_sampling()

    def stop_system_monitoring(self) -> None:
        """Stop measuring the device."""
        self._runtime.stop_sampling()

    def start_telemetry_upload(self) -> None:
        """Start uploading in the background, where a sink is configured."""
        self._runtime.start_uploading()

    def stop_telemetry_upload(self) -> None:
        """Stop uploading; what waits is kept."""
        self._runtime.stop_uploading()

    # - logging -

    def watch(
        self,
        model: str | None = None,
        model_version: str | None = None,
        *,
        source: str | None = None,
        tags: dict[str, Any] | None = None,
        inputs: Select = None,
        outputs: Select = None,
    ) -> Watch:
        """Record calls: a decorator for functions of any sort, or a `with` block.

        By default the data-shaped arguments are the inputs and the result is the output; `inputs` and
        `outputs` select otherwise, by names or with a callable. The function itself is untouched.

        >>> import tempfile
        >>> monitor = EdgeMonitor(config={"storage": {"sqlite_path": tempfile.mkdtemp() + "/m.db"}})
        >>> with monitor.watch(model="detector", source="camera-3") as call:
        ...     call.inputs = {"brightness": 0.4}
        ...     call.outputs = {"people": 2}
        >>> call.prediction_id is not None
        True
        """
        details = {"model": model, "model_version": model_version, "source": source}
        if tags is not None:
            details["tags"] = self._runtime.recorder.freeze(tags)
        return Watch(
            self._runtime.recorder,
            details=details,
            inputs=inputs,
            outputs=outputs,
            error_text=self.config.model_logging.store_error_text,
        )

    def log_prediction(
        self,
        inputs: Any,
        outputs: Any,
        *,
        prediction_id: str | None = None,
        model: str | None = None,
        model_version: str | None = None,
        source: str | None = None,
        latency_seconds: float | None = None,
        timestamp: datetime | float | None = None,
        tags: dict[str, Any] | None = None,
    ) -> str:
        """Record one prediction and return its id: the one given, or a new one.

        An id given twice means the same prediction; the later record wins and is counted. `timestamp` is
        a datetime or Unix seconds (default: now). An array is one prediction.

        >>> import tempfile
        >>> monitor = EdgeMonitor(config={"storage": {"sqlite_path": tempfile.mkdtemp() + "/m.db"}})
        >>> monitor.log_prediction({"a": 1.0}, 0.7, prediction_id="order-5")
        'order-5'
        """
        return self._runtime.recorder.log_prediction(
            inputs,
            outputs,
            prediction_id=prediction_id,
            model=model,
            model_version=model_version,
            source=source,
            latency_seconds=latency_seconds,
            timestamp=timestamp,
            tags=tags,
        )

    def log_predictions(
        self,
        inputs: Any,
        outputs: Any,
        *,
        prediction_ids: Sequence[str] | None = None,
        model: str | None = None,
        model_version: str | None = None,
        source: str | None = None,
        latency_seconds: Any = None,
        timestamp: Any = None,
        tags: dict[str, Any] | None = None,
    ) -> list[str]:
        """Record many predictions, axis 0 of inputs and outputs, and return their ids.

        Takes 2-D NumPy arrays, pandas and polars frames, Arrow tables, dicts of columns, lists of dicts.
        `latency_seconds` and `timestamp` are one value for all, or one for each.

        >>> import tempfile
        >>> monitor = EdgeMonitor(config={"storage": {"sqlite_path": tempfile.mkdtemp() + "/m.db"}})
        >>> len(monitor.log_predictions({"a": [1.0, 2.0]}, [0.1, 0.2]))
        2
        """
        return self._runtime.recorder.log_predictions(
            inputs,
            outputs,
            prediction_ids=prediction_ids,
            model=model,
            model_version=model_version,
            source=source,
            latency_seconds=latency_seconds,
            timestamp=timestamp,
            tags=tags,
        )

    def log_model_input(self, input_data: Any) -> str:
        """Record the input of a prediction whose output comes later; the prediction's id."""
        return self._runtime.recorder.log_input(input_data)

    def log_model_output(self, input_id: str, output_data: Any) -> str:
        """Record the output that belongs to an input logged before; the prediction's id."""
        return self._runtime.recorder.log_output(input_id, output_data)

    def log_actual(
        self, prediction_id: str, actual: Any, *, timestamp: datetime | float | None = None
    ) -> None:
        """Record the truth about a prediction, known later, also where the prediction left the device."""
        self._runtime.log_actual(prediction_id, actual, timestamp)

    def flush(self, timeout: float | None = None) -> bool:
        """True once all that was logged before the call is on stable storage.

        False where that did not succeed, or not within `timeout` seconds; it is then kept and tried again.
        """
        return self._runtime.recorder.flush(timeout)

    async def aflush(self, timeout: float | None = None) -> bool:
        """`flush` for asyncio programs; the event loop goes on meanwhile."""
        import asyncio

        return await asyncio.to_thread(self.flush, timeout)

    def on_event(self, callback: Callable[[Event], object], min_severity: str = "warning") -> None:
        """Call `callback` in a background thread for each event (alarm, recovery, loss) from now on.

        Severities, from least to most: info, warning, alarm, critical. ValueError for any other.
        """
        self._runtime.on_event(callback, min_severity)

    # - reading -

    def predictions(
        self,
        *,
        limit: int | None = None,
        since: When = None,
        until: When = None,
        model: str | None = None,
        source: str | None = None,
    ) -> Iterator[Prediction]:
        """The stored predictions, newest first. `since` and `until`: datetime, Unix seconds, or "1h" ago."""
        return self._read(Prediction, limit, since, until, model, source)

    def system_metrics(
        self, *, limit: int | None = None, since: When = None, until: When = None
    ) -> Iterator[SystemMetric]:
        """The stored measurements of the device, newest first; times as in `predictions`."""
        return self._read(SystemMetric, limit, since, until, None, None)

    def drift_results(
        self,
        *,
        limit: int | None = None,
        since: When = None,
        until: When = None,
        model: str | None = None,
        source: str | None = None,
    ) -> Iterator[DriftResult]:
        """The stored results of drift methods, newest first; times as in `predictions`."""
        return self._read(DriftResult, limit, since, until, model, source)

    def profiles(
        self,
        *,
        limit: int | None = None,
        since: When = None,
        until: When = None,
        model: str | None = None,
        source: str | None = None,
    ) -> Iterator[Profile]:
        """The stored profiles of features, newest first; times as in `predictions`."""
        return self._read(Profile, limit, since, until, model, source)

    def events(self, *, limit: int | None = None, since: When = None, until: When = None) -> Iterator[Event]:
        """The stored events, newest first; times as in `predictions`."""
        return self._read(Event, limit, since, until, None, None)

    def actuals(
        self, *, limit: int | None = None, since: When = None, until: When = None
    ) -> Iterator[Actual]:
        """The stored labels, newest first; times as in `predictions`."""
        return self._read(Actual, limit, since, until, None, None)

    def _read(
        self,
        kind: type[R],
        limit: int | None,
        since: When,
        until: When,
        model: str | None,
        source: str | None,
    ) -> Iterator[R]:
        now = self._runtime.clock.time()
        low, high = as_moment(since, now), as_moment(until, now)
        store = self._runtime.readable_store()
        if store is None:
            return iter(())
        found = store.newest(kind.kind, limit=limit, since=low, until=high, model=model, source=source)
        return cast("Iterator[R]", found)  # the kind says which class they have

    def get_status(self) -> dict[str, Any]:
        """Counts, losses, uploads and problems; keys as in docs/commands.md under `status`."""
        return self._runtime.status()

    # - deciding -

    def set_reference_data(
        self,
        feature_name: str,
        values: Sequence[Any],
        *,
        model: str | None = None,
        model_version: str | None = None,
        source: str | None = None,
    ) -> None:
        """Compare a feature with `values` (numbers or categories, in time order) from now on.

        An unqualified name means the output, then the input of that name.
        """
        self._runtime.set_reference(feature_name, values, model, model_version, source)

    def save_reference_data(self, output_path: str | os.PathLike[str] | None = None) -> None:
        """Write the references in force, given and learned, to a file (default: reference_data_path)."""
        self._runtime.save_references(output_path)

    def check_drift(self) -> list[DriftResult]:
        """Check every feature now; the results are stored as well."""
        return self._runtime.check_drift()

    def acknowledge(self, event_id: str) -> None:
        """Mark an alarm as seen: it stays open until the feature recovers, and is not raised again."""
        self._runtime.acknowledge(event_id)

    def rebaseline(
        self,
        *,
        model: str | None = None,
        model_version: str | None = None,
        source: str | None = None,
        feature: str | None = None,
    ) -> None:
        """Take what comes from now on as the new normal: matching references are learned anew."""
        self._runtime.order(
            "rebaseline",
            "the reference is learned anew",
            model=model,
            model_version=model_version,
            source=source,
            feature=feature,
        )

    # - moving and erasing -

    def create_telemetry_batch(
        self,
        include_system: bool = True,
        include_model: bool = True,
        include_drift: bool = True,
        max_records: int = 100,
    ) -> str:
        """Seal up to `max_records` of each kind for upload now; the id of the group they form."""
        kinds = ["system"] * include_system + ["predictions", "actuals", "profiles"] * include_model
        return self._runtime.seal(kinds + ["drift", "events"] * include_drift, max_records)

    def upload_now(
        self, timeout: float | None = None, progress: Callable[[int], object] | None = None
    ) -> dict[str, Any]:
        """Send everything that waits, now, in this thread; what was delivered and what still waits."""
        return self._runtime.upload_now(timeout, progress)

    def purge(self, *, before: When = None, prediction_id: str | None = None) -> dict[str, int]:
        """Erase everything from before a time, or one prediction with its labels; records erased, by kind.

        What was uploaded is out of reach. ValueError where neither is given.
        """
        if before is None and prediction_id is None:
            raise ValueError("purge needs before= (a time) or prediction_id=")
        return self._runtime.purge(as_moment(before, self._runtime.clock.time()), prediction_id)


def _config(
    path: str | os.PathLike[str] | None, device_id: str, given: Config | Mapping[str, Any] | None
) -> Config:
    if given is None:
        config = load_config(path)
    elif isinstance(given, Config):
        config = given
    else:
        config = Config.from_dict(given, path=None if path is None else Path(path))
    return config.of_device(device_id) if device_id else config
