"""`watch`: one object that records calls, as a decorator or as a `with` block.

What the watched function returns, raises and looks like is untouched; what goes wrong while recording is
counted and stays here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from time import perf_counter
from typing import Any, TypeVar

import msgspec

from edge_mlops_monitor.capture.recorder import Recorder
from edge_mlops_monitor.capture.selection import Selector
from edge_mlops_monitor.capture.snapshot import MAX_ROW_BYTES

F = TypeVar("F", bound=Callable[..., Any])
Select = Sequence[str] | Callable[..., Any] | None

MAX_YIELDED = 1000  # items of a generator that are recorded
MAX_YIELDED_BYTES = MAX_ROW_BYTES // 2


class Call:
    """One watched call: set `inputs` and `outputs`; `prediction_id` is its id once it ended."""

    def __init__(self, watch: Watch | None = None) -> None:
        self.inputs: Any = None
        self.outputs: Any = None
        self.prediction_id: str | None = None
        self.began = perf_counter()
        self._watch = watch


# The calls that are open in this thread or asyncio task: requests that wait at the same time share one watch.
_open_calls: ContextVar[tuple[Call, ...]] = ContextVar("edge_mlops_monitor.open_calls", default=())


class Watch:
    """Records calls under `model`, `model_version`, `source` and `tags`.

    As a decorator on plain, async and generator functions and on methods, `inputs` and `outputs` select what
    is recorded: names of arguments (of keys of the result), or a callable that is given the arguments (the
    result).
    """

    def __init__(
        self,
        recorder: Recorder,
        *,
        details: dict[str, Any],
        inputs: Select = None,
        outputs: Select = None,
        error_text: bool = False,
    ) -> None:
        self._recorder = recorder
        self._details = {name: value for name, value in details.items() if value is not None}
        self._inputs = inputs
        self._outputs = outputs
        self._encode = recorder.encode_value
        self._error_text = error_text

    # - as a with block -

    def __enter__(self) -> Call:
        call = Call(self)
        _open_calls.set((*_open_calls.get(), call))
        return call

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        call = self._close()
        if call is None:
            self._recorder.dropped["left_elsewhere"] += 1
            return
        latency = perf_counter() - call.began
        call.prediction_id = self._log(call.inputs, call.outputs, latency, error)

    def _close(self) -> Call | None:
        """The innermost open call of this watch; None where it was entered in another task."""
        calls = _open_calls.get()
        call = next((call for call in reversed(calls) if call._watch is self), None)
        _open_calls.set(tuple(other for other in calls if other is not call))
        return call

    async def __aenter__(self) -> Call:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: Any
    ) -> None:
        self.__exit__(kind, error, trace)

    # - as a decorator -

    def __call__(self, function: F) -> F:
        import inspect  # late: only decorators need it

        if isinstance(function, (classmethod, staticmethod)):
            return type(function)(self(function.__func__))
        select = self._input_selector(function)
        if inspect.isasyncgenfunction(function):
            wrapper = self._wrap_async_generator(function, select)
        elif inspect.isgeneratorfunction(function):
            wrapper = self._wrap_generator(function, select)
        elif inspect.iscoroutinefunction(function):
            wrapper = self._wrap_coroutine(function, select)
        else:
            wrapper = self._wrap_function(function, select)
        return functools.wraps(function)(wrapper)  # type: ignore[return-value]  # wraps keeps the signature

    def _wrap_function(self, function: Callable[..., Any], select: Callable[..., Any]) -> Callable[..., Any]:
        snapshot, finish, failed = self._snapshot, self._finish, self._failed

        def watched(*args: Any, **kwargs: Any) -> Any:
            inputs = snapshot(select, args, kwargs)
            began = perf_counter()
            try:
                result = function(*args, **kwargs)
            except BaseException as error:
                failed(inputs, error, began)
                raise
            finish(inputs, result, perf_counter() - began)
            return result

        return watched

    def _wrap_coroutine(self, function: Callable[..., Any], select: Callable[..., Any]) -> Callable[..., Any]:
        async def watched(*args: Any, **kwargs: Any) -> Any:
            inputs = self._snapshot(select, args, kwargs)
            began = perf_counter()
            try:
                result = await function(*args, **kwargs)
            except BaseException as error:
                self._failed(inputs, error, began)
                raise
            self._finish(inputs, result, perf_counter() - began)
            return result

        return watched

    def _wrap_generator(self, function: Callable[..., Any], select: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            with _Stream(self, self._snapshot(select, args, kwargs)) as stream:
                result = yield from stream.tee(function(*args, **kwargs))
                return result

        return watched

    def _wrap_async_generator(
        self, function: Callable[..., Any], select: Callable[..., Any]
    ) -> Callable[..., Any]:
        async def watched(*args: Any, **kwargs: Any) -> Any:
            with _Stream(self, self._snapshot(select, args, kwargs)) as stream:
                source = function(*args, **kwargs)
                try:
                    item = await source.__anext__()
                    while True:
                        stream.add(item)
                        try:
                            heard = yield item
                        except GeneratorExit:
                            raise
                        except BaseException as thrown:
                            item = await source.athrow(thrown)
                        else:
                            item = await source.asend(heard)
                except StopAsyncIteration:
                    pass
                finally:
                    await source.aclose()

        return watched

    def _snapshot(self, select: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The inputs as they are before the call, encoded, since the function may change them."""
        try:
            return msgspec.Raw(self._encode(select(args, kwargs)))
        except Exception:
            self._recorder.dropped["selector_failed"] += 1
            return None

    def _finish(self, inputs: Any, result: Any, latency: float) -> None:
        if self._outputs is not None:
            try:
                result = self._select_outputs(result)
            except Exception:
                self._recorder.dropped["selector_failed"] += 1
                result = None
        self._recorder.log_prediction(inputs, result, latency_seconds=latency, **self._details)

    def _failed(self, inputs: Any, error: BaseException, began: float) -> None:
        self._log(inputs, None, perf_counter() - began, error)

    def _select_outputs(self, result: Any) -> Any:
        if callable(self._outputs):
            return self._outputs(result)
        assert self._outputs is not None
        if isinstance(result, dict):
            return {name: result[name] for name in self._outputs if name in result}
        return {name: getattr(result, name) for name in self._outputs}

    def _log(self, inputs: Any, outputs: Any, latency: float, error: BaseException | None) -> str:
        text = None
        if error is not None:
            text = type(error).__name__
            if self._error_text:
                text = f"{text}: {_text(error)}"
        return self._recorder.log_prediction(
            inputs, outputs, latency_seconds=latency, error=text, **self._details
        )

    def _input_selector(self, function: Callable[..., Any]) -> Callable[..., Any]:
        chosen = self._inputs
        if callable(chosen):
            return lambda args, kwargs: chosen(*args, **kwargs)
        return Selector(function, chosen)


class _Stream:
    """The items of one generator call; recorded when it ends, is closed or fails."""

    def __init__(self, watch: Watch, inputs: Any) -> None:
        self.watch = watch
        self.inputs = inputs
        self.items: list[Any] = []
        self.count = self.size = 0
        self.began = perf_counter()

    def add(self, item: Any) -> None:
        self.count += 1
        if len(self.items) < MAX_YIELDED and self.size < MAX_YIELDED_BYTES:
            encoded = self.watch._recorder.encode_value(item)
            self.items.append(msgspec.Raw(encoded))
            self.size += len(encoded)

    def tee(self, source: Any) -> Any:
        """Delegate to `source`, values sent and thrown included, noting what it yields."""
        item = next_value = None
        error: BaseException | None = None
        while True:
            try:
                item = source.send(next_value) if error is None else source.throw(error)
            except StopIteration as stop:
                return stop.value
            self.add(item)
            error = None
            try:
                next_value = yield item
            except GeneratorExit:
                source.close()
                raise
            except BaseException as thrown:
                error = thrown

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        latency = perf_counter() - self.began
        unfinished = isinstance(error, GeneratorExit)
        outputs = {"yielded": self.items, "count": self.count, "finished": error is None}
        self.watch._log(self.inputs, outputs, latency, None if unfinished else error)


def _text(error: BaseException) -> str:
    try:
        return str(error)[:1000]
    except Exception:
        return "(its text cannot be read)"
