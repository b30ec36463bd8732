"""What runs behind an `EdgeMonitor`: the store, opened when first needed, and four background threads.

The writer commits what was logged; sampler, decider and uploader each work for the whole device, in the
process that holds the lease. After `os.fork` the child has none of the parent's threads, connection or
buffered records; the first call that logs there starts what ran in the parent.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from edge_mlops_monitor import leases, lifetime
from edge_mlops_monitor.background import UPLOAD_SECONDS, Background
from edge_mlops_monitor.capture.recorder import Recorder
from edge_mlops_monitor.capture.redaction import Redaction
from edge_mlops_monitor.capture.sampling import sampler
from edge_mlops_monitor.capture.silence import SilentRecorder
from edge_mlops_monitor.capture.snapshot import Snapshot, text_of
from edge_mlops_monitor.clock import Clock
from edge_mlops_monitor.config import Config
from edge_mlops_monitor.errors import ConfigError, DataError, StoreError
from edge_mlops_monitor.opening import Patience
from edge_mlops_monitor.records import Actual, DriftResult, Event
from edge_mlops_monitor.store import Store
from edge_mlops_monitor.telemetry.configured import sink_makers

if TYPE_CHECKING:
    from edge_mlops_monitor.decider import Decider
    from edge_mlops_monitor.notifier import Notifier
    from edge_mlops_monitor.telemetry.uploader import Uploader

logger = logging.getLogger("edge_mlops_monitor")

STOP_SECONDS = 5.0  # the longest that `stop` may take
WAITING_SHARE = 0.9  # of it, for which other processes are waited for
DECIDING_SECONDS = 1.0
DISABLED = "EDGE_MLOPS_MONITOR_DISABLED"


class Runtime:
    """The parts of one monitor, wired together."""

    def __init__(self, config: Config, clock: Clock | None = None, root: str = "/") -> None:
        self.config = config
        self._root = root  # where the machine's own files are
        self.clock = clock or Clock()
        self.enabled = config.enabled and os.environ.get(DISABLED, "").lower() not in ("1", "true", "yes")
        self._store: Store | None = None
        self._opening = threading.Lock()
        self._failure: tuple[float, StoreError] | None = None  # of the last attempt to open it, and its time
        self._sink_makers = sink_makers(config) if self.enabled else {}
        self._check_reference()
        self._patience = Patience()
        self.recorder = self._recorder() if self.enabled else SilentRecorder()
        self._background = Background(self.recorder, self.clock)
        self._decider: Decider | None = None
        self._notifier: Notifier | None = None
        self._uploader: Uploader | None = None
        self._sampler: Any = None
        self._own_sampler: Any = None
        self._measures_device = False
        if self.enabled:
            if "model_logging.log_level" in config.given:
                logger.setLevel(config.model_logging.log_level)
            lifetime.watch_over(self)

    def _recorder(self) -> Recorder:
        logging_ = self.config.model_logging
        redaction = Redaction(logging_.redact, self._redaction_key) if logging_.redact else None
        return Recorder(
            self.open_store,
            clock=self.clock,
            flush_interval=logging_.flush_interval_seconds,
            max_bytes=int(self.config.system.max_memory_buffer_mb * (1 << 20)),
            snapshot=Snapshot(logging_.raw_capture_bytes),
            redaction=redaction,
            keep=sampler(
                logging_.sample_rate, logging_.sample_every, logging_.sample_per_minute, clock=self.clock
            ),
            on_stored=lambda: self._background.wake("decider"),
            on_first_use_after_fork=self._restart,
        )

    # - the store -

    def open_store(self) -> Store:
        """The store, opened if it is not; raises StoreError while it cannot be."""
        store = self._store
        if store is not None:
            return store
        asked_at = time.monotonic()
        with self._opening:
            if self._store is None:
                self._store = self._opened_since(asked_at)
            return self._store

    def _opened_since(self, asked_at: float) -> Store:
        """Open it; where another thread has tried in vain while we waited for it, that is the answer."""
        if self._failure is not None and self._failure[0] >= asked_at:
            raise type(self._failure[1])(str(self._failure[1])) from self._failure[1]
        try:
            return self._open()
        except StoreError as error:
            self._failure = time.monotonic(), error
            raise

    def _open(self) -> Store:
        storage = self.config.storage
        return Store(
            storage.sqlite_path,
            device_id=self.config.device_id,
            root=self._root,
            max_bytes=int(storage.max_sqlite_size_mb * (1 << 20)),
            keep_predictions=self.config.model_logging.buffer_size,
            has_sinks=bool(self._sink_makers),
            clock=self.clock,
            patience=self._patience,
        )

    def readable_store(self) -> Store | None:
        """The store for a reader; None where the monitor is turned off."""
        return self.open_store() if self.enabled else None

    def _redaction_key(self) -> bytes:
        """The secret of the keyed hash: the configured one, or a random one that never leaves the device."""
        given = self.config.model_logging.redact_key
        if given:
            return given.encode()
        with self.open_store().transaction() as tx:
            key = tx.get("redaction key") or os.urandom(32)
            tx.put("redaction key", key)
        return key

    # - background -

    def start_sampling(self) -> None:
        """Measure the device every interval."""
        if self.enabled:
            interval = self.config.system.sampling_interval_seconds
            self._background.start("system", self._sample, interval, self._end_sampling)

    def start_deciding(self) -> None:
        """Decide about what is stored, and call back for events."""
        if not self.enabled:
            return
        interval = max(self.config.model_logging.flush_interval_seconds, 0.05)
        self._background.start("decider", self._decide, interval, self._end_deciding)
        if self._notifier is not None and self._notifier.wanted:
            step = self._notifier.step
            self._background.start("notifier", step, interval, lambda: step(self.clock.monotonic()))

    def start_uploading(self) -> None:
        """Upload every interval, where a sink is configured."""
        if not self.enabled:
            return
        self._background.start_writer()
        if self._sink_makers:
            if self._uploader is not None:
                self._uploader.resume()
            interval = self.config.telemetry.upload_interval_seconds
            self._background.start("uploader", self._upload, interval, self._end_uploading)

    def _restart(self) -> None:
        """In a forked child, at the first call that logs: run what ran in the parent."""
        self._background.restart()
        lifetime.at_exit_of_child(self)

    def stop(self) -> None:
        """Bring what was logged to stable storage and end the threads, in `STOP_SECONDS` whatever hangs."""
        if self.enabled:
            with self._in_time():
                self._stop_all()
            self._say_what_is_left("wait in memory for the next start(), flush() or the end of the program")

    def _stop_all(self) -> None:
        self.stop_uploading(0.0)
        self._background.stop_all(STOP_SECONDS)
        if self._store is not None:
            self._quietly(partial(self._store.close, 0.0))

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """Let nobody wait for other processes to the very end, so that there is time to come to one."""
        self._patience.until = time.monotonic() + WAITING_SHARE * STOP_SECONDS
        try:
            yield
        finally:
            self._patience.until = math.inf

    def _say_what_is_left(self, fate: str) -> None:
        records = self.recorder.unstored
        if records:
            why = (self.recorder.last_error or "it takes too long").partition(";")[0]
            logger.warning("%d records could not be stored (%s); they %s", records, why, fate)

    def stop_sampling(self) -> None:
        """Stop measuring."""
        self._background.stop("system", STOP_SECONDS)

    def stop_uploading(self, timeout: float = UPLOAD_SECONDS) -> None:
        """Stop uploading, without waiting for what is on its way."""
        if self._uploader is not None:
            self._uploader.stop()
        if self._background.stop("uploader", timeout):
            self._quietly(self._end_uploading)

    def _quietly(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:  # whatever is wrong here, the host must be able to end
            logger.warning("while stopping: %s: %s", type(error).__name__, error)

    def _sample(self, now: float) -> None:
        if self._sampler is None:
            with lifetime.importing:
                from edge_mlops_monitor.system import SystemSampler

                folder = os.path.dirname(self.config.storage.sqlite_path) or "."
                self._sampler = SystemSampler(clock=self.clock, paths=[folder])
                own = ["process"] if "process" in self._sampler.names else []
                self._own_sampler = SystemSampler(own, clock=self.clock)
        # One process measures the device; each process measures itself.
        self._measures_device = leases.acquire(self.open_store(), "system")
        self.recorder.put((self._sampler if self._measures_device else self._own_sampler).sample())

    def _end_sampling(self) -> None:
        if self._measures_device:
            self._measures_device = False
            leases.release(self.open_store(), "system")

    def _decide(self, now: float) -> float | None:
        # In steps, so that it can be stopped also where a program logs faster than it decides.
        return self.decider.step(now, deadline=self.clock.monotonic() + DECIDING_SECONDS)

    def _end_deciding(self) -> None:
        """Decide about what was stored last, in half of the time that is left for it, and write it down."""
        if self._decider is None:
            return
        left = min(STOP_SECONDS, self._patience.until - time.monotonic())
        try:
            self._decider.step(self.clock.monotonic(), deadline=self.clock.monotonic() + left / 2)
        finally:
            self._decider.close()

    def _upload(self, now: float) -> float | None:
        return self.uploader.step(now)

    def _end_uploading(self) -> None:
        if self._uploader is not None:
            self._uploader.close()

    @property
    def decider(self) -> Decider:
        """What decides, made when first needed: it brings NumPy."""
        if self._decider is None:
            with lifetime.importing:  # a thread of ours and one of the host may ask at the same moment
                if self._decider is None:
                    self._decider = self._made_decider()
        return self._decider

    def _made_decider(self) -> Decider:
        import edge_mlops_monitor.drift.watcher  # noqa: F401  # NumPy
        from edge_mlops_monitor.decider import Decider

        return Decider(
            self.open_store,
            self._drift_settings(),
            self._read_references,
            clock=self.clock,
            on_found=partial(self._background.wake, "notifier"),
            profile_seconds=60 * self.config.model_logging.profile_minutes,
        )

    @property
    def uploader(self) -> Uploader:
        """What uploads, made when first needed."""
        if self._uploader is None:
            store = self.open_store()
            with lifetime.importing:
                from edge_mlops_monitor.telemetry.uploader import Uploader

                if self._uploader is None:
                    self._uploader = Uploader(store, self._sink_makers, self.config.telemetry, self.clock)
        return self._uploader

    # - what EdgeMonitor offers -

    def log_actual(self, prediction_id: Any, actual: Any, timestamp: Any) -> None:
        """Record a label."""
        ts = self.recorder.seconds(timestamp)
        frozen = self.recorder.freeze(actual)
        self.recorder.put([Actual(ts=ts, prediction_id=text_of(prediction_id), actual=frozen)])

    def on_event(self, callback: Callable[[Event], object], min_severity: str) -> None:
        """Call back for events."""
        if not self.enabled:
            return
        if self._notifier is None:
            from edge_mlops_monitor.notifier import Notifier

            self._notifier = Notifier(self.open_store, self.clock)
        self._notifier.add(callback, min_severity)
        if "decider" in self._background.wanted:
            self.start_deciding()

    def status(self) -> dict[str, Any]:
        """The state of the monitor; never raises."""
        from edge_mlops_monitor import status

        if not self.enabled:
            return {**status.nothing(), "enabled": False}
        try:
            known = status.describe(self.open_store(), self.config)
        except Exception as error:  # a status is asked for when something is wrong: it says what
            known = {**status.nothing(), "database": {"exists": False, "problem": str(error)}}
        known["prediction_count"] += self.recorder.buffered
        dropped = self.recorder.dropped + type(self.recorder.dropped)(known["dropped"])
        errors = [self.recorder.last_error, *(worker.last_error for worker in self._background)]
        return {
            **known,
            "enabled": True,
            "dropped": dict(dropped),
            "buffered": self.recorder.buffered,
            "running": sorted(worker.name for worker in self._background if worker.running),
            "last_error": next(filter(None, errors), known["last_error"]),
            **self._decided(),
        }

    def _decided(self) -> dict[str, Any]:
        """What this process knows better than the database, where it decides."""
        if self._decider is None:
            return {}
        found = {"features": self._decider.features(), "performance": self._decider.performance()}
        return {name: value for name, value in found.items() if value is not None}

    def check_drift(self) -> list[DriftResult]:
        """Check now, and store the results."""
        if not self.enabled:
            return []
        self.recorder.flush(STOP_SECONDS)
        now = self.clock.time()
        results = [msgspec.structs.replace(result, ts=now) for result in self.decider.check()]
        self.recorder.put(results)
        return results

    def set_reference(
        self, name: str, values: Sequence[Any], model: str | None, version: str | None, source: str | None
    ) -> None:
        """Leave reference values for the process that decides."""
        if not self.enabled:
            return
        frozen = self.recorder.freeze_rows(values)
        if not frozen or any(isinstance(value, (list, dict)) for value in frozen):
            raise DataError(
                f"the reference of '{name}' is no sequence of values; give a list of numbers or categories"
            )
        number = os.urandom(8).hex()
        reference = {
            "feature": name,
            "values": frozen,
            "model": model,
            "model_version": version,
            "source": source,
        }
        with self.open_store().transaction() as tx:
            tx.put(f"reference/{number}", msgspec.msgpack.encode(reference))
            tx.event("reference_set", "info", f"a new reference for {name}", reference=number, feature=name)

    def save_references(self, path: str | os.PathLike[str] | None) -> None:
        """Write the references in force to a file."""
        target = path or self.config.drift_detection.reference_data_path
        if not target:
            raise DataError("no file to save references to; give output_path or set reference_data_path")
        if self.enabled:
            from edge_mlops_monitor.drift import reference_file

            self.recorder.flush(STOP_SECONDS)
            text = reference_file.dump(self.decider.references())
            os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
            with open(target, "w", encoding="utf-8") as file:
                file.write(text)

    def acknowledge(self, event_id: str) -> None:
        """Order that an alarm is held to be seen."""
        if not self.enabled:
            return
        self.recorder.flush(STOP_SECONDS)
        for event in self.open_store().newest("events"):
            assert isinstance(event, Event)
            if event.id == event_id:
                data = {key: event.data.get(key) for key in ("model", "model_version", "source", "feature")}
                self.order("acknowledged", f"seen: {event.message}", event=event_id, **data)
                return
        raise DataError(
            f"no event has the id '{event_id}'; `edge-mlops-monitor export --kind events` lists them"
        )

    def order(self, type: str, message: str, **data: Any) -> None:
        """Leave word for the process that decides."""
        if self.enabled:
            with self.open_store().transaction() as tx:
                tx.event(type, "info", message, **data)
            self._background.wake("decider")

    def seal(self, kinds: Iterable[str], max_records: int) -> str:
        """Seal records for upload now."""
        if not self.enabled:
            return ""
        self.recorder.flush(STOP_SECONDS)
        return self.uploader.seal(kinds, max_records)

    def upload_now(self, timeout: float | None, progress: Callable[[int], object] | None) -> dict[str, Any]:
        """Send everything that waits."""
        if not self.enabled:
            return {}
        self.recorder.flush(STOP_SECONDS)
        if "uploader" not in self._background.wanted:
            self.uploader.resume()  # `stop` told it to send nothing more; this is a new order
        return self.uploader.drain(timeout, progress)

    def purge(self, before: float | None, prediction_id: str | None) -> dict[str, int]:
        """Erase."""
        from edge_mlops_monitor.erasure import erase

        if not self.enabled:
            return {}
        self.recorder.flush(STOP_SECONDS)
        if prediction_id is not None:
            self.recorder.halves.finish(prediction_id)
        return erase(self.open_store(), before=before, prediction_id=prediction_id)

    # - configuration -

    def _drift_settings(self) -> Any:
        from edge_mlops_monitor.drift.settings import Settings

        given = self.config.drift_detection
        return Settings(**{name: given[name] for name in Settings.__struct_fields__ if name in given})

    def _read_references(self) -> Iterable[Any]:
        from edge_mlops_monitor.drift import reference_file

        path = self.config.drift_detection.reference_data_path
        if not path or not os.path.exists(path):
            return []
        return reference_file.load(path, keep_values=self.config.drift_detection.algorithm == "ks_test")

    def _check_reference(self) -> None:
        path = self.config.drift_detection.reference_data_path
        if not self.enabled or not path:
            return
        if not os.path.exists(path):
            logger.warning("the reference %s does not exist yet; references are learned instead", path)
            return
        try:
            list(self._read_references())
        except DataError as error:
            raise ConfigError(f"drift_detection.reference_data_path: {error}") from error

    # - processes -

    def after_fork(self) -> None:
        """In the child: nothing of the parent's."""
        self._opening = threading.Lock()
        self._patience.until = math.inf
        self._sampler = self._own_sampler = None  # they measure the process they were made in
        self._measures_device = False
        if self._decider is not None:
            self._decider.after_fork()
        self.recorder.after_fork()

    def at_exit(self) -> None:
        """The interpreter ends: what runs is stopped, what waits is written."""
        with self._in_time():
            if self._background.wanted:
                self._stop_all()
            else:
                self.recorder.flush(STOP_SECONDS)
        self._say_what_is_left("are lost, since the program ends")
