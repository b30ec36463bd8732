"""Snapshots: whatever a program hands to a logging call, as bytes that nobody can change any more.

The fast way is one MessagePack encode. Types the encoder does not know go through a table by type (arrays
become lists or summaries), and what cannot be encoded at all goes the slow way, piece by piece, until it
can: integers beyond 64 bits, lone surrogates, cycles, objects whose `repr` raises.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import islice
from numbers import Integral, Real
from typing import Any

import msgspec

from edge_mlops_monitor.features import MAX_DEPTH, MAX_ELEMENTS, summary

MAX_ROW_BYTES = 256 << 10  # a larger snapshot goes the slow way, which shortens
MAX_TEXT = 4096  # characters of a string that the slow way keeps
MAX_ITEMS = 4096  # values that the slow way keeps in all

Hook = Callable[[Any], Any]


class Snapshot:
    """Encodes values to MessagePack; arrays above 64 elements become summaries.

    `raw_bytes` asks for raw capture: arrays of up to so many bytes keep their data beside the summary.

    >>> msgspec.msgpack.decode(Snapshot().encode({"a": [1, 2.5]}))
    {'a': [1, 2.5]}
    """

    def __init__(self, raw_bytes: int = 0) -> None:
        self.raw_bytes = raw_bytes
        self._hooks: dict[type, Hook] = {}
        self.encode = msgspec.msgpack.Encoder(enc_hook=self._hook, decimal_format="number").encode

    def encode_anything(self, value: Any) -> bytes:
        """Encode `value` the slow way: shortened, and with what cannot be encoded replaced."""
        return self.encode(self.simplified(value))

    def simplified(self, value: Any) -> Any:
        """`value` as plain, bounded data that can be encoded."""
        return plain(value, self._hook)

    def _hook(self, value: Any) -> Any:
        kind = type(value)
        hook = self._hooks.get(kind)
        if hook is None:
            hook = self._choose(value)
            if len(self._hooks) < 1000:
                self._hooks[kind] = hook
        return hook(value)

    def _choose(self, value: Any) -> Hook:
        """How values of this type are turned into what MessagePack knows."""
        if isinstance(value, (bool, int, float, str, bytes)):  # a subclass, such as numpy.float64
            return next(base for base in (bool, int, float, str, bytes) if isinstance(value, base))
        if isinstance(value, complex):
            return lambda z: [z.real, z.imag]
        if isinstance(value, Integral):
            return int
        if isinstance(value, Real) or type(value).__name__ == "Decimal":  # or a fraction, a long double
            return float
        if isinstance(value, Mapping):
            return dict
        if hasattr(value, "detach") and hasattr(value, "cpu"):  # a torch tensor, on whatever device
            return lambda tensor: self._array(tensor.detach().cpu().numpy())
        if hasattr(value, "to_dicts") or hasattr(value, "to_pylist") or hasattr(value, "iterrows"):
            return self._frame
        if hasattr(value, "shape") and hasattr(value, "tolist"):
            return self._array
        if hasattr(value, "__array__"):
            return self._foreign_array
        return _described

    def _frame(self, frame: Any) -> Any:
        from edge_mlops_monitor.capture.rows import to_rows

        rows = to_rows(frame)
        return (
            rows[0]
            if len(rows) == 1
            else {name: [row[name] for row in rows] for name in rows[0]}
            if rows
            else []
        )

    def _foreign_array(self, value: Any) -> Any:
        import numpy

        return self._array(numpy.asarray(value))

    def _array(self, array: Any) -> Any:
        size = int(getattr(array, "size", 1))
        kind = getattr(getattr(array, "dtype", None), "kind", "f")
        if size <= MAX_ELEMENTS:
            return array.tolist()
        if kind not in "biuf":
            return {"shape": list(array.shape), "dtype": str(array.dtype)}
        from edge_mlops_monitor.arrays import summarise  # NumPy, where there is an array already

        record = summarise(array)
        if array.nbytes <= self.raw_bytes:
            record["data"] = array.tobytes()
        return record


def plain(value: Any, hook: Hook) -> Any:
    """`value` as plain, bounded data that any encoder takes; never raises.

    >>> plain({"n": 2**70, "s": "\\ud800", 3: {1}}, repr)
    {'n': 1.1805916207174113e+21, 's': '?', '3': [1]}
    """
    return _Plain(hook).value(value, 0)


class _Plain:
    """One walk over a value, with a bound on how much of it is kept."""

    def __init__(self, hook: Hook) -> None:
        self.hook = hook
        self.left = MAX_ITEMS

    def value(self, value: Any, depth: int) -> Any:
        self.left -= 1
        if self.left < 0 or depth > MAX_DEPTH + 1:  # as deep as features are looked for
            return "..."
        try:
            return self._value(value, depth)
        except Exception:
            return _described(value)

    def _value(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if value is None or kind is bool or kind is float:
            return value
        if kind is int:
            return value if -(1 << 63) <= value < 1 << 64 else _large(value)
        if kind is str:
            return _text(value)
        if kind in (bytes, bytearray, memoryview):
            return bytes(value[:MAX_TEXT])
        if isinstance(value, Mapping):
            return {
                _text(str(key)): self.value(item, depth + 1) for key, item in list(value.items())[:MAX_ITEMS]
            }
        if isinstance(value, (list, tuple, set, frozenset)):
            return self._sequence(list(islice(value, len(value))), depth)  # a subclass may go on for ever
        known = self.hook(value)
        return known if kind is type(known) and known is value else self.value(known, depth + 1)

    def _sequence(self, items: list[Any], depth: int) -> Any:
        if len(items) > MAX_ELEMENTS:
            short = summary(items)
            if short:
                return {"shape": [len(items)], "dtype": "list", **short}
        return [self.value(item, depth + 1) for item in items[:MAX_ITEMS]]


def _large(value: int) -> Any:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _text(value: str) -> str:
    return value[:MAX_TEXT].encode("utf-8", "replace").decode("utf-8")


def text_of(value: Any) -> str:
    """`value` as a text of at most 256 characters that every encoder takes; never raises.

    >>> text_of(7), text_of(chr(0xD800))
    ('7', '?')
    """
    if type(value) is str and value.isascii():
        return value[:256]
    try:
        return str(value).encode("utf-8", "replace").decode("utf-8")[:256]
    except Exception:
        return _described(value)


def _described(value: Any) -> str:
    """The type's name: what an object of unknown type is recorded as, since its repr may hold anything."""
    try:
        return f"<{type(value).__module__}.{type(value).__qualname__}>"
    except Exception:  # a metaclass can do anything
        return "<unnameable>"
