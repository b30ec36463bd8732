"""The recorder of a monitor that is turned off: ids are still given out, nothing is kept."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from typing import Any

from edge_mlops_monitor.capture.hotpath import ids
from edge_mlops_monitor.capture.recorder import Recorder
from edge_mlops_monitor.capture.rows import to_rows
from edge_mlops_monitor.capture.snapshot import text_of
from edge_mlops_monitor.records import Record


class SilentRecorder(Recorder):
    """A `Recorder` that records nothing."""

    def __init__(self) -> None:
        self.session = os.urandom(6).hex()
        self._next_id = ids(self.session).__next__
        self.dropped: Counter[str] = Counter()
        self.last_error = None
        self.log_prediction = self._ignore

    def _ignore(self, inputs: Any, outputs: Any, *, prediction_id: Any = None, **details: Any) -> str:
        return self._next_id() if prediction_id is None else text_of(prediction_id)

    def log_predictions(self, inputs: Any, outputs: Any, **details: Any) -> list[str]:
        try:
            count = len(to_rows(inputs))
        except Exception:
            count = 1
        given = details.get("prediction_ids")
        return [self._next_id() for _ in range(count)] if given is None else [text_of(id) for id in given]

    def log_input(self, inputs: Any) -> str:
        return self._next_id()

    def log_output(self, input_id: Any, outputs: Any) -> str:
        return text_of(input_id)

    def put(self, records: Iterable[Record]) -> None:
        return None

    def seconds(self, timestamp: Any) -> float:
        return 0.0

    def encode_value(self, value: Any) -> bytes:
        return b"\xc0"

    def flush(self, timeout: float | None = None) -> bool:
        return True

    def after_fork(self) -> None:
        self.session = os.urandom(6).hex()
        self._next_id = ids(self.session).__next__

    @property
    def buffered(self) -> int:
        return 0
