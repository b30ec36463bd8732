"""The decider: reads stored predictions in order, lets the watcher decide, commits findings with its cursor.

One process of the device decides, by lease, over the predictions of all of them. Its state is written
with every finding, every few minutes and at the end; after a crash the tail behind the cursor is read
again, so that a restart changes no decision.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from edge_mlops_monitor import leases, lifetime
from edge_mlops_monitor.blocks import SEQ_BITS, SEQ_MASK, Block
from edge_mlops_monitor.clock import Clock
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.erasure import PURGED_BEFORE
from edge_mlops_monitor.errors import StoreError
from edge_mlops_monitor.features import ERRORS
from edge_mlops_monitor.joining import LABELS, Joining
from edge_mlops_monitor.records import DriftResult, Event
from edge_mlops_monitor.store import LAST_KEY, Store
from edge_mlops_monitor.streams import Rows, Stream, streams_of
from edge_mlops_monitor.transaction import Transaction
from edge_mlops_monitor.turns import Turns

STATE = "decider"
FEATURES = "features"  # what `status` shows of each feature, without waking NumPy
PERFORMANCE = "performance"  # the same of labels and figures
CHECKPOINT_SECONDS = 600.0
ORDERS = ("rebaseline", "acknowledged", "reference_set")  # events by which users tell the decider something
NO_END = {"predictions": LAST_KEY, "actuals": LAST_KEY}  # of what is decided about in one go
REFERENCE = "reference/"  # state names under which `set_reference_data` leaves values

Finding = DriftResult | Event


class Checkpoint(msgspec.Struct, kw_only=True):
    """What the decider writes down: how far it has read, and the watcher's state."""

    cursor: int = 0
    orders: int = 0  # how far the events were read, for what users ordered
    digest: str = ""
    watcher: bytes = b""
    estimates: bytes = b""


class Decider:
    """Decides for the whole device while it holds the lease.

    `references` are read once, when the first decision is due; `on_found` is called after each commit.
    Profiles are made of windows of so many seconds; 0: none.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        settings: Settings,
        read_references: Callable[[], Iterable[Any]] = lambda: (),
        *,
        clock: Clock | None = None,
        on_found: Callable[[], None] = lambda: None,
        profile_seconds: float = 3600.0,
    ) -> None:
        self._open_store = open_store
        self._settings = settings
        self._read_references = read_references
        self._clock = clock or Clock()
        self._on_found = on_found
        self._profile_seconds = profile_seconds
        self._lock = Turns()
        self._watcher: Any = None
        self._joining = Joining(settings, (), "")
        self._profiler: Any = None
        self._estimates: Any = None
        self._checkpoint = Checkpoint()
        self._written_at = 0.0

    def step(
        self, now: float, deadline: float | None = None, ends: Mapping[str, int] = NO_END
    ) -> float | None:
        """Decide about everything that was stored since the last step, if this process holds the lease.

        Past the monotonic time `deadline`, and past these block keys by kind, the rest is left to the next
        step, then wanted at once (0.0).
        """
        store = self._open_store()
        with self._lock:
            if not leases.acquire(store, "decide"):
                self._watcher = self._profiler = None  # the holder's state will be newer than ours
                return None
            if self._profiler is None:
                self._restore(store)
                self._profiler = self._restored_profiler(store)
                self._written_at = now
            moved = self._catch_up(store, commit=True, deadline=deadline, ends=ends)
            late = deadline is not None and self._clock.monotonic() > deadline
            late = late or (ends is not NO_END and store.newest_key("predictions") > self._checkpoint.cursor)
            if not late:
                self._listen(store)
            self._profiler.rest(now)
            if (moved or self._profiler.closed) and now - self._written_at > CHECKPOINT_SECONDS:
                self._commit(store, [])
        return 0.0 if late else None

    def check(self) -> list[DriftResult]:
        """The answer for every feature as of now, without waiting for the next step."""
        store = self._open_store()
        with self._lock:
            # Not what is logged meanwhile: where programs log faster than we decide there would be no end.
            self.step(self._clock.monotonic(), ends=_ends(store))
            if self._watcher is not None:
                return _checked(self._watcher, self._joining)
        return _checked(*self._peek(store))

    def features(self) -> list[dict[str, Any]] | None:
        """The state of each feature, where this process decides; None where it does not."""
        with self._lock:
            return None if self._watcher is None else self._listed()

    def performance(self) -> dict[str, Any] | None:
        """What labels say about the models, where this process decides; None where it does not."""
        with self._lock:
            return None if self._watcher is None else self._performance()

    def _performance(self) -> dict[str, Any]:
        estimates = [] if self._estimates is None else self._estimates.status()
        return self._joining.status() | ({"estimates": estimates} if estimates else {})

    def _listed(self) -> list[dict[str, Any]]:
        errors = self._joining.watcher.status() if self._joining.in_use else {}
        return listed(self._watcher.status()) + listed(errors)

    def references(self) -> list[Any]:
        """The references in force, given and learned."""
        with self._lock:
            mine = (self._watcher, self._joining)
            watcher, joining = mine if self._watcher is not None else self._peek(self._open_store())
            return [*watcher.references(), *joining.references()]

    def close(self) -> None:
        """Write the state down and let another process decide."""
        with self._lock:
            store = self._open_store()
            try:
                if self._watcher is not None:
                    self._profiler.close()
                    self._commit(store, [])
            finally:  # also where nothing can be written: another process takes over
                leases.release(store, "decide")
                self._watcher = self._profiler = None

    def after_fork(self) -> None:
        """In the child: the parent decides."""
        self._lock = Turns()
        self._watcher = self._profiler = None

    def _peek(self, store: Store) -> tuple[Any, Joining]:
        """Decisions as of now that commit nothing, for a process that only asks."""
        mine = self._watcher, self._joining, self._estimates, self._checkpoint
        try:
            self._restore(store)
            self._catch_up(store, commit=False, ends=_ends(store))
            return self._watcher, self._joining
        finally:
            self._watcher, self._joining, self._estimates, self._checkpoint = mine

    def _restore(self, store: Store) -> None:
        """Go on from what was written down last."""
        from edge_mlops_monitor.drift.watcher import Watcher

        references = list(self._read_references())
        digest = _digest(self._settings, references)
        of_errors = [one for one in references if one.only_rises]
        watcher = Watcher(self._settings, [one for one in references if not one.only_rises])
        joining, estimates = Joining(self._settings, of_errors, digest), _estimates(of_errors)
        labels, stored = store.get(LABELS), store.get(STATE)
        if labels is not None:
            joining.restore(labels)
        checkpoint = Checkpoint() if stored is None else msgspec.msgpack.decode(stored, type=Checkpoint)
        if checkpoint.digest == digest and checkpoint.watcher:
            watcher.restore(checkpoint.watcher)
            if estimates is not None:
                estimates.restore(checkpoint.estimates)
        checkpoint.digest = digest  # other settings or references: decided anew from here on
        self._joining, self._estimates, self._checkpoint = joining, estimates, checkpoint
        self._watcher = watcher

    def _catch_up(
        self,
        store: Store,
        *,
        commit: bool,
        deadline: float | None = None,
        ends: Mapping[str, int] = NO_END,
    ) -> bool:
        moved = self._obey(store)
        if moved and commit:
            # At once: after a crash what was decided before an order must not be decided after it.
            self._commit(store, [])
        while found := store.blocks("predictions", self._checkpoint.cursor, 1, ends["predictions"]):
            findings = self._undecided(found[0]) + self._decide(found[0], commit)
            findings += self._joining.meet(found[0])
            self._checkpoint.cursor = found[0].key
            moved = True
            if findings and commit:
                self._commit(store, findings)
            if deadline is not None and self._clock.monotonic() > deadline:
                return moved
            time.sleep(0)  # let the host's threads run between two blocks
        return self._read_labels(store, commit=commit, deadline=deadline, ends=ends) or moved

    def _listen(self, store: Store) -> None:
        """Say which streams are silent, now that every row is taken in."""
        findings = self._watcher.silence(self._clock.time())
        if findings:
            self._commit(store, findings)

    def _undecided(self, block: Block) -> list[Finding]:
        """What is said of predictions that were given up or erased before anything was decided about them."""
        cursor = self._checkpoint.cursor
        missed = block.first_seq - (cursor & SEQ_MASK) - 1
        if not cursor or cursor >> SEQ_BITS != block.key >> SEQ_BITS or missed <= 0:
            return []
        message = f"{missed} predictions were gone before drift and quality were decided about them"
        event = Event(
            ts=block.first_ts,
            id=f"undecided-{block.generation}-{block.first_seq}",
            type="undecided",
            severity="warning",
            message=message,
            data={"predictions": missed, "before_seq": block.first_seq},
        )
        return [event]

    def _read_labels(
        self, store: Store, *, commit: bool, deadline: float | None, ends: Mapping[str, int]
    ) -> bool:
        """Take in the labels that came, once all predictions are; whether there were any."""
        moved = False
        while found := store.blocks("actuals", self._joining.cursor, 1, ends["actuals"]):
            findings = self._joining.take(store, found[0])
            moved = True
            if findings and commit:
                self._commit(store, findings)
            if deadline is not None and self._clock.monotonic() > deadline:
                break
            time.sleep(0)
        return moved

    def _decide(self, block: Block, commit: bool) -> list[Finding]:
        findings: list[Finding] = []
        streams = list(streams_of(block))
        for stream, columns, ts in streams:
            findings.extend(self._watcher.update(stream, columns, ts))
            if self._estimates is not None:
                findings.extend(self._estimates.update(stream, columns, ts))
        if commit:
            self._profile(self._profiler, block, streams)
        return findings

    def _profile(self, profiler: Any, block: Block, streams: Iterable[Rows]) -> None:
        for stream, columns, ts in streams:
            profiler.take(stream, columns, ts, self._watcher.in_force(stream))
        profiler.have_read(block.key, len(block.payload), self._clock.monotonic())

    def _restored_profiler(self, store: Store) -> Any:
        """The profiler as it was, and what it missed: its state is older than the watcher's."""
        from edge_mlops_monitor import profiler

        made = profiler.Profiler(self._profile_seconds, self._settings.maximum_features)
        made.restore(store.get(profiler.STATE), self._checkpoint.cursor, store.get(PURGED_BEFORE))
        while found := store.blocks("predictions", after=made.cursor, limit=1):
            if found[0].key > self._checkpoint.cursor:
                break
            self._profile(made, found[0], streams_of(found[0]))
            time.sleep(0)
        return made

    def _obey(self, store: Store) -> bool:
        """Carry out what users ordered by events; whether there was any order."""
        obeyed = False
        while found := store.blocks("events", after=self._checkpoint.orders, limit=1):
            for event in found[0].records():
                assert isinstance(event, Event)
                if event.type in ORDERS:
                    self._carry_out(store, event)
                    obeyed = True
            self._checkpoint.orders = found[0].key
        return obeyed

    def _carry_out(self, store: Store, event: Event) -> None:
        data = event.data
        if event.type == "rebaseline":
            chosen = {name: data.get(name) for name in ("model", "model_version", "source", "feature")}
            for watcher in self._watchers_of(chosen["feature"]):
                watcher.rebaseline(**chosen)
        elif event.type == "acknowledged" and data.get("feature"):
            stream = (data.get("model"), data.get("model_version"), data.get("source"))
            for watcher in self._watchers_of(data["feature"]):
                watcher.acknowledge(stream, data["feature"])
        elif event.type == "reference_set":
            values = store.get(REFERENCE + str(data.get("reference")))
            if values is not None:
                given = msgspec.msgpack.decode(values)
                for watcher in self._watchers_of(given["feature"]):
                    watcher.set_reference(**given)

    def _watchers_of(self, feature: str | None) -> list[Any]:
        """Who decides about a feature; None stands for all features."""
        if feature is None:
            return [self._watcher, *([self._joining.watcher.watcher] if self._joining.in_use else [])]
        return [self._joining.watcher.watcher if feature.startswith(ERRORS) else self._watcher]

    def _commit(self, store: Store, findings: list[Finding]) -> None:
        try:
            self._write(store, findings)
        except StoreError:
            # The watcher has gone past what it found: go back to what was written last, and find it again.
            self._watcher = self._profiler = None
            raise
        if any(isinstance(finding, Event) for finding in findings):
            self._on_found()

    def _write(self, store: Store, findings: list[Finding]) -> None:
        self._checkpoint.watcher = self._watcher.state()
        self._checkpoint.estimates = b"" if self._estimates is None else self._estimates.state()
        with store.transaction() as tx:
            write_findings(tx, findings)
            tx.put(STATE, msgspec.msgpack.encode(self._checkpoint))
            tx.put(FEATURES, msgspec.json.encode(self._listed()))
            if self._joining.in_use:
                tx.put(LABELS, self._joining.state())
            if self._joining.in_use or self._estimates is not None:
                tx.put(PERFORMANCE, msgspec.json.encode(self._performance()))
            self._profiler.write(tx)
        self._profiler.settle()
        self._written_at = self._clock.monotonic()


def _ends(store: Store) -> dict[str, int]:
    """The newest block of each kind that is decided about."""
    return {kind: store.newest_key(kind) for kind in NO_END}


def listed(status: dict[Stream, dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """The watcher's status as rows: model, model_version, source, feature, state and what explains it."""
    return [
        {"model": model, "model_version": version, "source": source, "feature": feature, **state}
        for (model, version, source), features in status.items()
        for feature, state in features.items()
    ]


def _estimates(references: list[Any]) -> Any:
    """What estimates performance without labels; None where no reference can."""
    if not any(one.estimator for one in references):
        return None
    with lifetime.importing:
        from edge_mlops_monitor.estimates import Estimates

    return Estimates(references)


def _checked(watcher: Any, joining: Joining) -> list[DriftResult]:
    """The present answers about all features, errors included."""
    return [*watcher.check(), *(joining.watcher.watcher.check() if joining.in_use else [])]


def write_findings(tx: Transaction, findings: Iterable[Finding]) -> None:
    """Store results and events, each under its kind."""
    for kind in ("drift", "events"):
        records = [finding for finding in findings if finding.kind == kind]
        if records:
            tx.append(kind, records)


def _digest(settings: Settings, references: list[Any]) -> str:
    # Tells settings apart, not enemies: hashlib would bring OpenSSL, 3.4 MB.
    return f"{zlib.crc32(msgspec.msgpack.encode((settings, references), order='deterministic')):08x}"
