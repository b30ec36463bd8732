"""Which arguments of a watched call are its inputs: the data-shaped, those named, or what a callable says.

Whether an argument is data depends on its type alone, so a call with the same types as one before is
answered from a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

_DATA = (bool, int, float, complex, str, bytes, list, tuple, dict, set)
MAX_PLANS = 256

Plan = Callable[[tuple[Any, ...]], Any]


def is_data(kind: type) -> bool:
    """Whether values of a type are data: numbers, text, containers, arrays and frames; nothing else is.

    >>> is_data(list), is_data(object), is_data(type(None))
    (True, False, False)
    """
    if issubclass(kind, _DATA):
        return True
    return hasattr(kind, "__array__") or (hasattr(kind, "shape") and hasattr(kind, "dtype"))


class Selector:
    """The inputs of calls of one function, from its arguments.

    >>> def predict(self, features, threshold=0.5): ...
    >>> select = Selector(predict)
    >>> select((object(), [1, 2]), {})
    {'features': [1, 2]}
    >>> select((object(), {"a": 1}), {})
    {'a': 1}
    """

    def __init__(self, function: Callable[..., Any], wanted: Sequence[str] | None = None) -> None:
        self.names = _positional_names(function)
        self.wanted = wanted
        # A method's own object is no input, even where it is a dict or looks like an array.
        self.owner = self.names[0] if self.names and self.names[0] in ("self", "cls") else None
        self._plans: dict[tuple[type, ...], Plan] = {}

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if kwargs or self.wanted is not None:
            return self._select(args, kwargs)
        types = tuple(map(type, args))
        plan = self._plans.get(types)
        if plan is None:
            plan = self._plan(types)
        return plan(args)

    def _plan(self, types: tuple[type, ...]) -> Plan:
        chosen = [(self._name(i), i) for i, kind in enumerate(types) if is_data(kind)]
        chosen = chosen[1:] if chosen[:1] == [(self.owner, 0)] else chosen
        if len(chosen) == 1 and issubclass(types[chosen[0][1]], dict):
            only = chosen[0][1]
            plan: Plan = lambda args: args[only]  # noqa: E731  # a lone dict is not prefixed by its parameter
        else:
            plan = lambda args: {name: args[i] for name, i in chosen}  # noqa: E731
        if len(self._plans) < MAX_PLANS:
            self._plans[types] = plan
        return plan

    def _select(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        named = {self._name(index): value for index, value in enumerate(args)}
        named.update(kwargs)
        if self.wanted is not None:
            named = {name: named[name] for name in self.wanted if name in named}
        else:
            data = {name: value for name, value in named.items() if is_data(type(value))}
            named = {name: value for name, value in data.items() if name != self.owner}
        if len(named) == 1:
            only = next(iter(named.values()))
            return only if isinstance(only, dict) else named
        return named

    def _name(self, index: int) -> str:
        return self.names[index] if index < len(self.names) else f"arg{index}"


def _positional_names(function: Callable[..., Any]) -> list[str]:
    from inspect import Parameter, signature

    try:
        parameters = signature(function).parameters.values()
    except (TypeError, ValueError):  # a built-in without a signature
        return []
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return [parameter.name for parameter in parameters if parameter.kind in kinds]
