"""The watcher's state as bytes, bit for bit; a state that cannot be used is told, not raised."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_mlops_monitor.drift.joint_judge import JointJudge
from edge_mlops_monitor.drift.joint_recovery import Back
from edge_mlops_monitor.drift.learning import Learning
from edge_mlops_monitor.drift.lookup import References
from edge_mlops_monitor.drift.reference import FeatureReference, Stream
from edge_mlops_monitor.drift.settings import Settings
from edge_mlops_monitor.drift.stream import Watch
from edge_mlops_monitor.quality.arrival import Known

VERSION = 9


class _Array(msgspec.Struct, frozen=True, array_like=True):
    kind: str
    shape: list[int]
    data: bytes


class _Joint(msgspec.Struct, kw_only=True):
    alarm: Back | None
    arrays: dict[str, _Array]


class _Stream(msgspec.Struct, kw_only=True):
    stream: Stream
    known: list[str]
    learned: dict[str, FeatureReference]
    learning: list[Learning]
    lacking: dict[str, str]
    acknowledged: list[str]
    rows: int
    newest: _Array
    results_due: _Array
    owed: _Array
    pending: dict[str, list[Any]]
    pending_ts: list[float]
    names: list[str]
    watched: list[int | str | FeatureReference]  # in `references`, in `learned`, or by itself
    alarms: dict[str, dict[str, Any]]
    judge: dict[str, _Array]
    faults: dict[str, dict[str, Any]]
    checks: dict[str, _Array]
    arrival: Known
    arrival_rates: dict[str, _Array]
    arriving: dict[str, dict[str, Any]]
    groups: dict[str, list[dict[str, Any]]] = {}
    joint: _Joint | None = None


class _State(msgspec.Struct, kw_only=True):
    version: int
    fingerprint: str
    newest: _Array
    refused: list[tuple[Stream, str]]
    references: list[FeatureReference]
    streams: list[_Stream]


def save(
    fingerprint: str,
    streams: Mapping[Stream, Watch],
    references: References,
    refused: set[tuple[Stream, str]],
    newest: float,
) -> bytes:
    """The state of all streams."""
    state = _State(
        version=VERSION,
        fingerprint=fingerprint,
        newest=_number(newest),
        refused=sorted(refused, key=repr),
        references=references.all(),
        streams=[_save_stream(watch, references) for watch in streams.values()],
    )
    return zlib.compress(msgspec.msgpack.encode(state, enc_hook=_plain))  # half as much for the flash


def restore(
    state: bytes, fingerprint: str, settings: Settings
) -> tuple[References, dict[Stream, Watch], set[tuple[Stream, str]], float] | None:
    """What was saved; None where the state is damaged or made with other references or algorithm."""
    try:
        found = msgspec.msgpack.decode(zlib.decompress(state), type=_State)
        if found.version != VERSION or found.fingerprint != fingerprint:
            return None
        references = References(found.references)
        streams = {one.stream: _restore_stream(one, settings, references) for one in found.streams}
        return references, streams, set(found.refused), _float(found.newest)
    except (zlib.error, msgspec.DecodeError, ValueError, KeyError, IndexError):
        return None


def _save_stream(watch: Watch, references: References) -> _Stream:
    kept: dict[int, int | str] = {id(one): name for name, one in watch.learned.items()}
    kept |= {id(one): place for place, one in enumerate(references.all())}
    return _Stream(
        stream=watch.stream,
        known=list(watch.known),
        learned=watch.learned,
        learning=_laid_out([group.in_order() for group in watch.learning], _by_byte),
        lacking=watch.lacking,
        acknowledged=sorted(watch.acknowledged),
        rows=watch.rows,
        newest=_number(watch.newest),
        results_due=_number(watch.results_due),
        owed=_number(watch.spending.owed),
        pending=watch.pending,
        pending_ts=watch.pending_ts,
        names=watch.judge.names,
        watched=[kept.get(id(one), one) for one in watch.judge.references],
        alarms=watch.judge.alarms,
        judge=_all_packed(watch.judge.arrays),
        faults=watch.checking.open,
        arrival=watch.arriving.arrival.known,
        arrival_rates=_all_packed(watch.arriving.arrival.rates.arrays),
        arriving=watch.arriving.open,
        checks=_all_packed(watch.checking.arrays),
        groups=watch.groups.open,
        joint=_save_joint(watch.together.judge) if watch.together.judge else None,
    )


def _save_joint(judge: JointJudge) -> _Joint:
    return _Joint(alarm=judge.alarm, arrays=_all_packed(judge.evidence.save()))


def _restore_stream(saved: _Stream, settings: Settings, references: References) -> Watch:
    watch = Watch(settings, saved.stream, references)
    given = references.all()
    watched = [
        given[one] if isinstance(one, int) else saved.learned[one] if isinstance(one, str) else one
        for one in saved.watched
    ]
    watch._keep([], dict(zip(saved.names, watched, strict=True)))
    watch.known = dict.fromkeys(saved.known)
    watch.learned, watch.lacking = saved.learned, saved.lacking
    watch.learning = [group.with_ranks() for group in _laid_out(saved.learning, _by_number)]
    watch.acknowledged, watch.rows = set(saved.acknowledged), saved.rows
    watch.newest, watch.results_due = _float(saved.newest), _float(saved.results_due)
    watch.spending.owed = _float(saved.owed)
    watch.pending, watch.pending_ts = saved.pending, saved.pending_ts
    watch.judge.alarms = saved.alarms
    watch.groups.open = saved.groups
    arrays = watch.judge.arrays
    for name, kept in _all_unpacked(saved.judge, arrays).items():
        arrays[name][...] = kept
    watch.checking.put(_all_unpacked(saved.checks, watch.checking.arrays))
    watch.checking.open = saved.faults
    arrival = watch.arriving.arrival
    arrival.put(saved.arrival, _all_unpacked(saved.arrival_rates, arrival.rates.arrays))
    watch.arriving.open = saved.arriving
    watch.judge.resume()
    if saved.joint is not None:
        judge = watch.together.resume()
        judge.alarm = saved.joint.alarm
        judge.evidence.restore(_all_unpacked(saved.joint.arrays, judge.evidence.save()))
    return watch


def _laid_out(groups: list[Learning], lay: Callable[[bytes], bytes]) -> list[Learning]:
    """The same groups, with the numbers that they kept laid out in another way."""
    replace = msgspec.structs.replace
    return [
        replace(
            group, kept={name: replace(one, numbers=lay(one.numbers)) for name, one in group.kept.items()}
        )
        for group in groups
    ]


def _by_byte(numbers: bytes) -> bytes:
    """The first bytes of all numbers, then the second ones and so on, each compressed by itself.

    The last bytes mostly have no pattern; together with them the others would not be seen to have one.
    Where there are few different numbers, which they are, and then the place there of each.
    """
    words = np.frombuffer(numbers, dtype=np.uint64)
    different, places = np.unique(words, return_inverse=True)
    few = len(different) < 256
    parts: list[NDArray[Any]] = (
        [different, places.astype(np.uint8)] if few else [*words.view(np.uint8).reshape(-1, 8).T]
    )
    compressor = zlib.compressobj()
    found = [compressor.compress(bytes([len(different) if few else 0]))]
    for part in parts:
        found += [compressor.compress(part.tobytes()), compressor.flush(zlib.Z_FULL_FLUSH)]
    return b"".join(found) + compressor.flush() if numbers else b""


def _by_number(laid: bytes) -> bytes:
    found = np.frombuffer(zlib.decompress(laid) if laid else b"\0", dtype=np.uint8)
    different, parts = int(found[0]), found[1:]
    if different:
        return bytes(parts[: 8 * different].view(np.uint64)[parts[8 * different :]].tobytes())
    return bytes(parts.reshape(8, -1).T.tobytes())


def _plain(value: Any) -> Any:
    """What came in where a number or text was expected."""
    return value.item() if isinstance(value, np.generic) else str(value)


def _all_packed(arrays: Mapping[str, NDArray[Any]]) -> dict[str, _Array]:
    """Those that hold anything but zeros: a stream that only learns has a hundred that do not."""
    return {name: _packed(array) for name, array in arrays.items() if array.any()}


def _all_unpacked(packed: Mapping[str, _Array], like: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {
        name: _unpacked(packed[name], array) if name in packed else np.zeros_like(array)
        for name, array in like.items()
    }


def _packed(array: NDArray[Any]) -> _Array:
    return _Array(array.dtype.str, list(array.shape), np.ascontiguousarray(array).tobytes())


def _unpacked(packed: _Array, like: NDArray[Any]) -> NDArray[Any]:
    array = np.frombuffer(packed.data, dtype=packed.kind).reshape(packed.shape)
    if array.shape != like.shape or array.dtype != like.dtype:
        raise ValueError(f"an array of {array.shape} where {like.shape} belongs")
    return np.array(array)


def _number(value: float) -> _Array:
    return _packed(np.array([value]))


def _float(packed: _Array) -> float:
    return float(np.frombuffer(packed.data, dtype=packed.kind)[0])
