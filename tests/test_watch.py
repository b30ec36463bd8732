"""`watch`: what a function returns, raises and looks like is untouched, and every call is recorded."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_mlops_monitor import EdgeMonitor
from edge_mlops_monitor.records import Prediction


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[EdgeMonitor]:
    monitor = EdgeMonitor(config={"storage": {"sqlite_path": str(tmp_path / "m.db")}})
    yield monitor
    monitor.stop()


def stored(monitor: EdgeMonitor) -> list[Prediction]:
    """Oldest first."""
    assert monitor.flush()
    return list(monitor.predictions())[::-1]


def only(monitor: EdgeMonitor) -> Prediction:
    (one,) = stored(monitor)
    return one


# - functions -


def test_a_function_is_recorded_with_its_details(monitor: EdgeMonitor) -> None:
    @monitor.watch("detector", "3", source="camera-3", tags={"site": "b"})
    def predict(width: float, height: float = 2.0, *, unit: str = "mm") -> dict[str, float]:
        """The area."""
        return {"area": width * height}

    assert predict(3.0, unit="cm") == {"area": 6.0}
    one = only(monitor)
    assert (one.model, one.model_version, one.source, one.tags) == (
        "detector",
        "3",
        "camera-3",
        {"site": "b"},
    )
    assert (one.inputs, one.outputs, one.error) == ({"width": 3.0, "unit": "cm"}, {"area": 6.0}, None)
    assert one.latency_seconds is not None
    assert one.latency_seconds >= 0


def test_name_docstring_and_signature_are_kept(monitor: EdgeMonitor) -> None:
    def predict(width: float, *rest: int, height: float = 2.0, **more: Any) -> float:
        """The area."""
        return width * height

    watched = monitor.watch()(predict)
    assert inspect.signature(watched) == inspect.signature(predict)
    assert (watched.__name__, watched.__doc__, watched.__module__) == ("predict", "The area.", __name__)
    assert watched.__wrapped__ is predict  # type: ignore[attr-defined]


def test_the_very_result_is_returned(monitor: EdgeMonitor) -> None:
    result = object()
    assert monitor.watch()(lambda: result)() is result
    assert "object" in only(monitor).outputs


def test_the_very_exception_passes_with_its_traceback(monitor: EdgeMonitor) -> None:
    error = KeyError("secret")

    @monitor.watch()
    def predict(a: int) -> None:
        raise error

    with pytest.raises(KeyError) as caught:
        predict(1)
    assert caught.value is error
    assert caught.value.__cause__ is None
    assert caught.traceback[-1].name == "predict"
    one = only(monitor)
    assert (one.inputs, one.outputs, one.error) == ({"a": 1}, None, "KeyError")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
def test_exceptions_that_are_no_errors_pass_as_well(monitor: EdgeMonitor, error: type[BaseException]) -> None:
    def stop() -> None:
        raise error

    with pytest.raises(error):
        monitor.watch()(stop)()
    assert only(monitor).error == error.__name__


def test_inputs_are_taken_before_the_call_which_may_change_them(monitor: EdgeMonitor) -> None:
    @monitor.watch()
    def normalise(values: list[float]) -> None:
        values.clear()

    normalise([1.0, 2.0])
    assert only(monitor).inputs == {"values": [1.0, 2.0]}


def test_a_lone_dict_is_not_prefixed(monitor: EdgeMonitor) -> None:
    watched = monitor.watch()(lambda features, threshold=None: 1)
    watched({"a": 1.0})
    watched({"a": 1.0}, 0.5)
    assert [one.inputs for one in stored(monitor)] == [{"a": 1.0}, {"features": {"a": 1.0}, "threshold": 0.5}]


def test_only_data_is_recorded_never_self_requests_or_handles(monitor: EdgeMonitor) -> None:
    class Request:
        body = "secret"

    class Model(dict):  # type: ignore[type-arg]
        shape, dtype = (1,), "float"

        @monitor.watch()
        def predict(self, request: Request, image: Any, file: Any, lock: Any, name: str, flag: Any) -> int:
            return 1

    arguments = (Request(), np.zeros((20, 20)), io.StringIO("secret"), threading.Lock(), "x", None)
    assert Model(weights="secret").predict(*arguments) == 1
    one = only(monitor)
    assert sorted(one.inputs) == ["image", "name"]
    assert "secret" not in repr(one)


def test_positional_keyword_and_surplus_arguments_have_names(monitor: EdgeMonitor) -> None:
    @monitor.watch()
    def predict(a: int, /, b: int, *more: int, c: int, **named: int) -> int:
        return 1

    predict(1, 2, 3, 4, c=5, d=6)
    assert only(monitor).inputs == {"a": 1, "b": 2, "arg2": 3, "arg3": 4, "c": 5, "d": 6}


def test_a_wrong_call_raises_what_it_raised_before(monitor: EdgeMonitor) -> None:
    watched: Callable[..., Any] = monitor.watch()(lambda a: a)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        watched()
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        watched(1, b=2)


@pytest.mark.parametrize(
    "sort", ["function", "class method", "static method", "partial", "callable", "built-in"]
)
def test_callables_of_all_sorts(monitor: EdgeMonitor, sort: str) -> None:
    from functools import partial

    class Model:
        @monitor.watch()
        def function(self, x: int) -> int:
            return x + 1

        @classmethod
        @monitor.watch()
        def inner_class(cls, x: int) -> int:
            return x + 1

        @monitor.watch()
        @staticmethod
        def static(x: int) -> int:
            return x + 1

        @monitor.watch()
        @classmethod
        def outer_class(cls, x: int) -> int:
            return x + 1

        def __call__(self, x: int) -> int:
            return x + 1

    callables: dict[str, Any] = {
        "function": Model().function,
        "class method": Model.outer_class,
        "static method": Model().static,
        "partial": monitor.watch()(partial(lambda y, x: x + y, 1)),
        "callable": monitor.watch()(Model()),  # type: ignore[type-var]
        "built-in": monitor.watch()(max),
    }
    if sort == "class method":
        assert Model.inner_class(x=1) == 2
        assert Model().outer_class(1) == 2
    if sort == "built-in":
        assert callables[sort](1, 2) == 2
        assert only(monitor).inputs == {"arg0": 1, "arg1": 2}
        return
    assert callables[sort](x=1) == 2
    assert [(one.inputs, one.outputs) for one in stored(monitor)][-1] == ({"x": 1}, 2)


# - selection -


def test_arguments_and_results_are_selected_by_name(monitor: EdgeMonitor) -> None:
    @monitor.watch(inputs=["a", "c", "unknown"], outputs=["y", "unknown"])
    def predict(a: int, b: int, c: int) -> dict[str, int]:
        return {"y": 1, "z": 2}

    predict(1, 2, c=3)
    one = only(monitor)
    assert (one.inputs, one.outputs) == ({"a": 1, "c": 3}, {"y": 1})


def test_or_with_callables(monitor: EdgeMonitor) -> None:
    @monitor.watch(inputs=lambda rows: {"rows": len(rows)}, outputs=lambda result: {"best": max(result)})
    def predict(rows: list[int]) -> list[int]:
        return [1, 5, 2]

    assert predict([1, 2]) == [1, 5, 2]
    one = only(monitor)
    assert (one.inputs, one.outputs) == ({"rows": 2}, {"best": 5})


def test_attributes_of_a_result_are_selected_by_name(monitor: EdgeMonitor) -> None:
    class Result:
        label, score, secret = "cat", 0.5, "secret"

    monitor.watch(outputs=["label", "score"])(lambda: Result())()
    assert only(monitor).outputs == {"label": "cat", "score": 0.5}


def test_a_selector_that_fails_is_counted_and_hides_nothing(monitor: EdgeMonitor) -> None:
    def wrong(*anything: Any) -> Any:
        raise RuntimeError("in the selector")

    assert monitor.watch(inputs=wrong, outputs=wrong)(lambda a: a)(5) == 5
    assert monitor.watch(outputs=["missing"])(lambda: 5)() == 5
    one, two = stored(monitor)
    assert (one.inputs, one.outputs, two.outputs) == (None, None, None)
    assert monitor.get_status()["dropped"] == {"selector_failed": 3}


# - coroutines and generators -


def test_a_coroutine_is_awaited_inside_the_measured_time(monitor: EdgeMonitor) -> None:
    @monitor.watch()
    async def predict(a: int) -> int:
        await asyncio.sleep(0.02)
        return a + 1

    assert inspect.iscoroutinefunction(predict)
    assert asyncio.run(predict(1)) == 2
    one = only(monitor)
    assert (one.inputs, one.outputs) == ({"a": 1}, 2)
    assert one.latency_seconds is not None
    assert one.latency_seconds >= 0.019


def test_a_coroutine_that_is_cancelled_is_recorded_and_stays_cancelled(monitor: EdgeMonitor) -> None:
    @monitor.watch()
    async def predict(a: int) -> None:
        await asyncio.sleep(600)

    async def main() -> None:
        task = asyncio.ensure_future(predict(1))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert only(monitor).error == "CancelledError"


Talk = Generator[str, Any, str]


def talk(name: str) -> Talk:
    """Says what it hears."""
    heard: Any = name
    while heard != "stop":
        try:
            heard = yield f"heard {heard}"
        except ValueError as error:
            heard = f"error {error}"
    return "ended"


def converse(generator: Talk) -> list[Any]:
    said: list[Any] = [next(generator), generator.send("a"), generator.throw(ValueError("b"))]
    with pytest.raises(StopIteration) as stop:
        generator.send("stop")
    return [*said, stop.value.value]


def test_a_generator_is_spoken_with_as_before(monitor: EdgeMonitor) -> None:
    watched = monitor.watch()(talk)
    assert inspect.isgeneratorfunction(watched)
    assert converse(watched("x")) == converse(talk("x")) == ["heard x", "heard a", "heard error b", "ended"]
    one = only(monitor)
    assert one.inputs == {"name": "x"}
    assert one.outputs == {"yielded": ["heard x", "heard a", "heard error b"], "count": 3, "finished": True}


def test_a_generator_left_unfinished_is_recorded_when_it_is_closed(monitor: EdgeMonitor) -> None:
    closed = []

    @monitor.watch()
    def numbers(n: int) -> Iterator[int]:
        try:
            yield from range(n)
        finally:
            closed.append(n)

    for number in numbers(5):
        if number == 2:
            break
    assert closed == [5]
    one = only(monitor)
    assert (one.outputs["yielded"], one.outputs["finished"], one.error) == ([0, 1, 2], False, None)


def test_a_generator_that_fails_is_recorded_with_its_error(monitor: EdgeMonitor) -> None:
    @monitor.watch()
    def numbers() -> Iterator[int]:
        yield 1
        raise KeyError("secret")

    with pytest.raises(KeyError):
        list(numbers())
    assert (only(monitor).error, only(monitor).outputs["yielded"]) == ("KeyError", [1])


def test_a_generator_that_refuses_to_close_is_told_so(monitor: EdgeMonitor) -> None:
    def stubborn() -> Iterator[int]:
        with contextlib.suppress(GeneratorExit):
            yield 1
        yield 2

    for function in (stubborn, monitor.watch()(stubborn)):
        generator: Any = function()
        next(generator)
        with pytest.raises(RuntimeError, match="generator ignored GeneratorExit"):
            generator.close()


def test_a_long_generator_is_counted_but_not_kept_whole(monitor: EdgeMonitor) -> None:
    @monitor.watch()
    def numbers() -> Iterator[str]:
        for _ in range(3000):
            yield "x" * 1000

    assert sum(1 for _ in numbers()) == 3000
    one = only(monitor)
    assert one.outputs["count"] == 3000
    assert 100 < len(one.outputs["yielded"]) <= 1000
    assert monitor.get_status()["dropped"] == {}


async def async_talk(name: str) -> AsyncIterator[str]:
    heard: Any = name
    while heard != "stop":
        try:
            heard = yield f"heard {heard}"
        except ValueError as error:
            heard = f"error {error}"


async def async_converse(generator: Any) -> list[Any]:
    said = [await generator.__anext__(), await generator.asend("a")]
    said.append(await generator.athrow(ValueError("b")))
    with pytest.raises(StopAsyncIteration):
        await generator.asend("stop")
    return said


def test_an_async_generator_is_spoken_with_as_before(monitor: EdgeMonitor) -> None:
    watched: Any = monitor.watch()(async_talk)
    assert inspect.isasyncgenfunction(watched)
    expected = ["heard x", "heard a", "heard error b"]
    assert asyncio.run(async_converse(async_talk("x"))) == expected
    assert asyncio.run(async_converse(watched("x"))) == expected
    assert only(monitor).outputs == {"yielded": expected, "count": 3, "finished": True}


def test_an_async_generator_left_unfinished_is_closed_and_recorded(monitor: EdgeMonitor) -> None:
    closed = []

    @monitor.watch()
    async def numbers() -> AsyncIterator[int]:
        try:
            for number in range(5):
                yield number
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    async def main() -> None:
        generator: Any = numbers()
        assert await generator.__anext__() == 0
        await generator.aclose()

    asyncio.run(main())
    assert closed == [True]
    one = only(monitor)
    assert (one.outputs["yielded"], one.outputs["finished"], one.error) == ([0], False, None)


# - with -


def test_a_block_is_recorded_with_its_latency_and_gets_an_id(monitor: EdgeMonitor) -> None:
    with monitor.watch(model="m", source="s") as call:
        call.inputs = {"a": 1}
        call.outputs = {"b": 2}
        assert call.prediction_id is None
    one = only(monitor)
    assert (one.id, one.model, one.source) == (call.prediction_id, "m", "s")
    assert (one.inputs, one.outputs) == ({"a": 1}, {"b": 2})


def test_an_exception_passes_through_a_block(monitor: EdgeMonitor) -> None:
    error = OSError("secret")

    def fail() -> None:
        with monitor.watch() as call:
            call.inputs = 1
            raise error

    with pytest.raises(OSError, match="secret") as caught:
        fail()
    assert caught.value is error
    assert (only(monitor).inputs, only(monitor).error) == (1, "OSError")


def test_blocks_of_one_watch_can_be_nested(monitor: EdgeMonitor) -> None:
    watch = monitor.watch()
    with watch as outer:
        outer.inputs = "outer"
        with watch as inner:
            inner.inputs = "inner"
    assert [(one.id, one.inputs) for one in stored(monitor)] == [
        (inner.prediction_id, "inner"),
        (outer.prediction_id, "outer"),
    ]


def test_threads_that_share_a_watch_do_not_mix(monitor: EdgeMonitor) -> None:
    watch = monitor.watch()
    together = threading.Barrier(8)

    def work(number: int) -> None:
        for turn in range(50):
            with watch as call:
                call.inputs = (number, turn)
                if turn < 3:
                    together.wait(100)
                call.outputs = (number, turn)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = stored(monitor)
    assert len(found) == 400
    assert all(one.inputs == one.outputs for one in found)


def test_asyncio_tasks_that_share_a_watch_do_not_mix(monitor: EdgeMonitor) -> None:
    watch = monitor.watch()

    async def work(number: int) -> tuple[int, str | None]:
        async with watch as call:
            call.inputs = number
            await asyncio.sleep(0.001 * (7 - number))  # the first to enter is the last to leave
            call.outputs = number
        with watch as again:
            again.inputs = number
            await asyncio.sleep(0.001 * number)
            again.outputs = number
        return number, call.prediction_id

    async def main() -> list[tuple[int, str | None]]:
        return await asyncio.gather(*map(work, range(8)))

    ids = {id: number for number, id in asyncio.run(main())}
    found = stored(monitor)
    assert len(found) == 16
    assert all(one.inputs == one.outputs for one in found)
    assert {one.id: one.inputs for one in found if one.id in ids} == ids


def test_a_block_left_in_another_thread_raises_nothing(monitor: EdgeMonitor) -> None:
    watch = monitor.watch()
    watch.__enter__()
    thread = threading.Thread(target=watch.__exit__, args=(None, None, None))
    thread.start()
    thread.join()
    watch.__exit__(None, None, None)
    watch.__exit__(None, None, None)
    assert monitor.flush()
    assert monitor.get_status()["dropped"] == {"left_elsewhere": 2}


def test_a_watched_function_costs_its_recursion_one_record_a_call(monitor: EdgeMonitor) -> None:
    @monitor.watch()
    def factorial(n: int) -> int:
        return 1 if n == 0 else n * factorial(n - 1)

    assert factorial(5) == 120
    assert [one.outputs for one in stored(monitor)] == [1, 1, 2, 6, 24, 120]
