"""How the features of one stream go together: its reference is given or learned, then it is watched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edge_mlops_monitor.drift.batch import Batch
from edge_mlops_monitor.drift.evidence import WARNED
from edge_mlops_monitor.drift.findings import REPLACED, Where
from edge_mlops_monitor.drift.joint import JOINT
from edge_mlops_monitor.drift.joint_judge import Alarms, JointJudge
from edge_mlops_monitor.drift.joint_reference import joint_reference, that_go_together
from edge_mlops_monitor.drift.judge import EvidenceJudge, Found
from edge_mlops_monitor.drift.learning import Learning, begin
from edge_mlops_monitor.drift.reference import FeatureReference
from edge_mlops_monitor.records import DriftResult, Event

if TYPE_CHECKING:
    from edge_mlops_monitor.drift.stream import Watch


class Together:
    """Whether the features of a stream go together as in the reference.

    Where no reference says how, it is learned: with the features' own references, or from the first rows
    after these.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self.judge: JointJudge | None = None
        self._seeks = True  # whether there may be something to begin

    @property
    def shares_taken(self) -> int:
        """In how many shares of the budget for drift this spends."""
        return int(self.judge is not None)

    @property
    def _wanted(self) -> bool:
        settings = self._watch.settings
        return settings.algorithm == "e_detector" and settings.share == "drift"

    def place(self, names: Sequence[str]) -> None:
        """These features are watched from now on."""
        self._seeks = True
        if self.judge is not None:
            self.judge.place(names)

    def use(self, reference: FeatureReference) -> JointJudge:
        """Watch by this reference from now on."""
        self.judge = JointJudge(self._watch.settings, self._watch.stream, reference)
        self.judge.place(self._watch.judge.names)
        return self.judge

    def resume(self) -> JointJudge:
        """Watch by the reference that a saved state was made with."""
        watch = self._watch
        reference = watch.learned.get(JOINT) or watch.references.joint(watch.stream)
        if reference is None:
            raise ValueError("a state of how features go together, without its reference")
        return self.use(reference)

    def seek(self, ts: float) -> None:
        """Take up a reference that was given, or begin to learn one once nothing else is learned."""
        watch = self._watch
        if not self._seeks or not self._wanted:
            return
        self._seeks = False
        if self.judge is not None or JOINT in watch.lacking:
            return
        given = watch.references.joint(watch.stream)
        names = self._names()
        if given is not None:
            self._take_up(given)
        elif not watch.learning and len(names) > 1:
            watch.learning.append(begin(names, ts, watch.settings, joint=True))

    def _take_up(self, reference: FeatureReference) -> None:
        if reference.lacks:
            self._watch.lacking[JOINT] = reference.lacks
        else:
            self.use(reference)

    def _names(self) -> list[str]:
        return that_go_together(self._watch.judge.names, self._watch.judge.references)

    def learn(self, group: Learning, names: Iterable[str], **stream: Any) -> None:
        """Make the reference of what a group has learned, where it has all features that go together."""
        watch = self._watch
        wanted = self._names()
        self._seeks = True
        given = self.judge is not None or watch.references.joint(watch.stream) is not None
        if not self._wanted or given or len(wanted) < 2 or not set(wanted) <= set(names):
            return
        of = dict(zip(watch.judge.names, watch.judge.references, strict=True))
        columns = {name: group.column(name) for name in wanted}
        references = [msgspec.structs.replace(of[name], name=name) for name in wanted]
        found = joint_reference(columns, references, group.segment, **stream)
        if found is not None:
            watch.learned[JOINT] = found
            self._take_up(found)

    def forget(self, names: Iterable[str] = (JOINT,)) -> int:
        """Forget the reference if it is about any of these features; returns 1 where it was watched."""
        watch = self._watch
        names = list(names)
        of_others = self.judge is not None and not self.judge.concerns(names)
        if JOINT not in names and (of_others or not names):
            return 0
        known = self.judge is not None or JOINT in watch.lacking
        self.judge, self._seeks = None, True
        for found in (watch.lacking, watch.learned):
            found.pop(JOINT, None)
        watch.acknowledged.discard(JOINT)
        watch.references.remove_joint(watch.stream)
        watch.learning = [group for group in watch.learning if not group.joint]
        return int(known)

    def before(self) -> tuple[Alarms, set[str]]:
        """The features' own open alarms, each with what it is of, and the features in warning."""
        watch = self._watch
        if self.judge is None or not isinstance(watch.judge, EvidenceJudge):
            return set(), set()
        warned = np.flatnonzero(watch.judge.evidence.state["level"] == WARNED).tolist()
        return watch.opened(), {watch.judge.names[i] for i in warned}

    def take(self, batch: Batch, features: int, before: tuple[Alarms, set[str]], found: Found) -> Found:
        """Take in rows, given what was open `before` them and what was `found` of each feature in them."""
        return [] if self.judge is None else self.judge.take(batch, features, *before, found)

    def results(self, row: int, ts: float) -> list[DriftResult]:
        """The present answer."""
        return [] if self.judge is None else self.judge.results(row, ts)

    @property
    def alarms(self) -> dict[str, dict[str, Any]]:
        """Since when it is in alarm, under its name, where it is."""
        alarm = None if self.judge is None else self.judge.alarm
        return {} if alarm is None else {JOINT: {"since": alarm.since, "event": alarm.event}}

    def supersede(self, row: int, ts: float) -> list[DriftResult | Event]:
        """End an open alarm of a model that is no longer used."""
        if self.judge is None:
            return []
        where = Where(self._watch.stream, JOINT, row, ts)
        return self.judge.end(where, REPLACED)

    def status(self) -> Mapping[str, dict[str, Any]]:
        """The state under its name, where it is watched."""
        if self.judge is None:
            return {}
        acknowledged = {"acknowledged": JOINT in self._watch.acknowledged} if self.alarms else {}
        return {JOINT: {**self.judge.status(), **acknowledged}}
