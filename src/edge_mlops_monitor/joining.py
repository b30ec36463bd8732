"""Labels that come later, joined to the predictions that are still on the device.

Labels are read in the order in which they were stored and looked up by the id of their prediction, a block of
them at a time. One that came before its prediction waits for it, an hour of the labels' own time and so many
at most; what has left the device by then, or never was on it, is counted. State and cursor are committed with
the findings, so that a label counts once; a crash may only change the order in which labels count that came
before their predictions.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from edge_mlops_monitor import lifetime
from edge_mlops_monitor.blocks import FIELDS, Block
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.features import features
from edge_mlops_monitor.records import DriftResult, Event
from edge_mlops_monitor.store import Store

if TYPE_CHECKING:
    from edge_mlops_monitor.drift.reference import FeatureReference
    from edge_mlops_monitor.labelled import Labelled, LabelledWatcher

LABELS = "decider/labels"  # the name of the state
WAIT_SECONDS = 3600.0
MOST_WAITING = 500
TS, ID, MODEL, VERSION, SOURCE, OUTPUTS, ERROR = (
    FIELDS["predictions"].index(name)
    for name in ("ts", "id", "model", "model_version", "source", "outputs", "error")
)
OF, ACTUAL, AT = (FIELDS["actuals"].index(name) for name in ("prediction_id", "actual", "ts"))

Stream = tuple[str | None, str | None, str | None]
Finding = DriftResult | Event


class _State(msgspec.Struct, kw_only=True):
    cursor: int = 0
    digest: str = ""
    newest: float | None = None
    waiting: list[tuple[str, float, Any]] = []
    counts: dict[str, int] = {}
    watcher: bytes = b""


class Joining:
    """Joins labels and lets the errors be decided about; light while there are no labels."""

    def __init__(self, settings: Settings, references: Iterable[FeatureReference], digest: str) -> None:
        self._settings, self._references, self._digest = settings, list(references), digest
        self._watcher: LabelledWatcher | None = None
        self._kept, self._is_same = b"", True  # the watcher's state, until it is needed
        self._newest = -math.inf
        self.cursor = 0
        self.waiting: dict[str, tuple[float, Any]] = {}
        self.counts: Counter[str] = Counter()

    @property
    def watcher(self) -> LabelledWatcher:
        """What decides, made when first needed."""
        if self._watcher is None:
            with lifetime.importing:
                from edge_mlops_monitor.labelled import LabelledWatcher

            self._watcher = LabelledWatcher(self._settings, self._references)
            if self._kept:
                self._watcher.restore(self._kept, decisions=self._is_same)
        return self._watcher

    @property
    def in_use(self) -> bool:
        """Whether there ever was a label, or an order about errors."""
        return self.cursor > 0 or self._watcher is not None

    def take(self, store: Store, block: Block) -> list[Finding]:
        """Join a block of labels to what is stored of their predictions."""
        labels: dict[str, tuple[float, Any]] = {}
        for row in block.rows():
            self.counts["superseded"] += row[OF] in labels
            labels.pop(row[OF], None)
            labels[row[OF]] = row[AT], row[ACTUAL]
            self._newest = max(self._newest, row[AT])
        self.cursor = block.key
        rows = store.find_predictions(list(labels))
        found = self._decide([(rows[id], actual) for id, (_, actual) in labels.items() if id in rows])
        self._wait({id: label for id, label in labels.items() if id not in rows})
        return found

    def meet(self, block: Block) -> list[Finding]:
        """Join what waits to a block of predictions that came after their labels."""
        if not self.waiting:
            return []
        pairs = [(row, self.waiting.pop(row[ID])[1]) for row in block.rows() if row[ID] in self.waiting]
        return self._decide(pairs)

    def _wait(self, labels: dict[str, tuple[float, Any]]) -> None:
        self.waiting.update(labels)
        late = [id for id, (ts, _) in self.waiting.items() if ts < self._newest - WAIT_SECONDS]
        late += [
            id for id in list(self.waiting)[: max(0, len(self.waiting) - MOST_WAITING)] if id not in late
        ]
        for id in late:
            del self.waiting[id]
        self.counts["prediction_gone"] += len(late)

    def _decide(self, pairs: Sequence[tuple[list[Any], Any]]) -> list[Finding]:
        """Let the errors be decided about, by stream, in the order of the predictions."""
        streams: dict[Stream, list[Labelled]] = defaultdict(list)
        for row, actual in sorted(pairs, key=lambda pair: pair[0][TS]):
            if row[ERROR] is None:
                stream = _name(row[MODEL]), _name(row[VERSION]), _name(row[SOURCE])
                outputs = features(None, row[OUTPUTS])
                streams[stream].append(self.watcher.row(row[ID], row[TS], outputs, actual))
            else:
                self.counts["prediction_failed"] += 1
        return [one for stream, rows in streams.items() for one in self.watcher.update(stream, rows)]

    def status(self) -> dict[str, Any]:
        """How many labels were used, why others were not, and the figures; empty where there are none."""
        if not self.in_use:
            return {}
        counts = self.counts + self.watcher.counts
        return {"labels": {**counts, "waiting": len(self.waiting)}, "figures": self.watcher.figures()}

    def references(self) -> list[FeatureReference]:
        """The references of errors in force, given and learned."""
        found = self.watcher.watcher.references() if self.in_use else self._references
        return [one for one in found if one.only_rises]

    def state(self) -> bytes:
        """All that goes on after a restart."""
        state = _State(
            cursor=self.cursor,
            digest=self._digest if self._watcher is not None or self._is_same else "",
            newest=None if math.isinf(self._newest) else self._newest,
            waiting=[(id, ts, actual) for id, (ts, actual) in self.waiting.items()],
            counts=dict(self.counts),
            watcher=self._kept if self._watcher is None else self._watcher.state(),
        )
        return msgspec.msgpack.encode(state)

    def restore(self, state: bytes) -> None:
        """Go on from a state; with other settings or references the errors are decided about anew."""
        found = msgspec.msgpack.decode(state, type=_State)
        self.cursor, self.counts = found.cursor, Counter(found.counts)
        self._newest = -math.inf if found.newest is None else found.newest
        self.waiting = {id: (ts, actual) for id, ts, actual in found.waiting}
        self._kept, self._is_same = found.watcher, found.digest == self._digest


def _name(value: Any) -> str | None:
    return None if value is None else str(value)
