"""What scikit-learn and its like are asked for: estimators that are fitted, and what is measured of them.

Methods and functions are given a coat that calls them and takes a note. What runs inside of another, such as the fits
of a search, is part of it and costs nothing. Classes of `__main__` are left as they are: they travel to other processes
by value, and a coat must not travel with them.
"""

from __future__ import annotations

import copy
import functools
import sys
import time
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any, Protocol

MEASURES = ("_score", "_error", "_loss", "_deviance", "_coefficient", "_coef", "_corrcoef", "_gain", "auc")
"""How names of functions end that measure."""
_COAT = "__stellwerk_coat__"


class Notes(Protocol):
    """Who is told. Nothing of it raises."""

    on: bool

    def fitted(self, estimator: Any, seconds: float) -> None:
        """An estimator was fitted."""
        ...

    def measured(self, name: str, value: Any, what: str) -> None:
        """A number was computed, of something that is called `what` where it was asked for."""
        ...

    def used(self, source: object) -> None:
        """Something was read: a path or an address."""
        ...


class Coats:
    """Puts coats on. While one function with a coat runs, the others are bare, in all threads."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._busy = False

    # scikit-learn

    def base(self, module: ModuleType) -> None:
        """`sklearn.base` was imported: every estimator that is there, and every one to come."""
        root = module.BaseEstimator
        inherited = root.__init_subclass__.__func__
        dress = self._dress

        def __init_subclass__(cls: type, /, **more: Any) -> None:  # noqa: N807 - it is that one
            inherited(cls, **more)
            dress(cls)

        root.__init_subclass__ = classmethod(__init_subclass__)
        for kind in list(_below(root)):
            dress(kind)
        for mixin in (module.ClassifierMixin, module.RegressorMixin):
            dress(mixin)

    def metrics(self, module: ModuleType) -> None:
        """`sklearn.metrics` was imported."""
        for name in module.__all__:
            function = getattr(module, name, None)
            if isinstance(function, FunctionType) and name.endswith(MEASURES):
                setattr(module, name, Measure(function, self._measure))

    def validation(self, module: ModuleType) -> None:
        """`sklearn.model_selection` was imported."""
        for name in ("cross_val_score", "cross_validate"):
            function = getattr(module, name, None)
            if isinstance(function, FunctionType):
                setattr(module, name, Measure(function, self._cross))

    # Frames

    def readers(self, module: ModuleType) -> None:
        """A library of frames was imported, some of whose readers open files where Python does not see it."""
        for name in [one for one in dir(module) if one.startswith(("read_", "scan_"))]:
            function = getattr(module, name, None)
            if isinstance(function, FunctionType):
                setattr(module, name, Measure(function, self._read))

    def _dress(self, kind: type) -> None:
        if kind.__module__ == "__main__":
            return
        for name, note in (("fit", self._fit), ("score", self._score)):
            method = vars(kind).get(name)
            if isinstance(method, FunctionType) and not hasattr(method, _COAT):
                setattr(kind, name, _coat(method, note))

    def _fit(self, method: Callable[..., Any], given: tuple[Any, ...], more: dict[str, Any]) -> Any:
        if self._busy or not self._notes.on or not hasattr(given[0], "predict"):
            return method(*given, **more)
        self._busy, started = True, time.perf_counter()
        try:
            answer = method(*given, **more)
        finally:
            self._busy = False
        self._notes.fitted(given[0], time.perf_counter() - started)
        return answer

    def _score(self, method: Callable[..., Any], given: tuple[Any, ...], more: dict[str, Any]) -> Any:
        answer = self._alone(method, given, more)
        if answer is not None and not self._busy and self._notes.on:
            what = _called(given[1] if len(given) > 1 else more.get("X"), 3)
            self._notes.measured(f"{type(given[0]).__name__}/score", answer, what)
        return answer

    def _measure(self, function: Callable[..., Any], given: tuple[Any, ...], more: dict[str, Any]) -> Any:
        answer = self._alone(function, given, more)
        if not self._busy and self._notes.on:
            self._notes.measured(_name(function), answer, _called(given[0] if given else more.get("y_true"), 3))
        return answer

    def _cross(self, function: Callable[..., Any], given: tuple[Any, ...], more: dict[str, Any]) -> Any:
        started = time.perf_counter()
        answer = self._alone(function, given, more)
        if not self._busy and self._notes.on:
            estimator = given[0] if given else more.get("estimator")
            self._notes.fitted(estimator, time.perf_counter() - started)
            parts = answer if isinstance(answer, dict) else {"score": answer}
            for name, values in parts.items():
                if name == "score" or name.startswith(("test_", "train_")):
                    self._notes.measured(f"{type(estimator).__name__}/cv/{name}", _mean(values), "")
        return answer

    def _read(self, function: Callable[..., Any], given: tuple[Any, ...], more: dict[str, Any]) -> Any:
        if self._notes.on and given:
            for one in given[0] if isinstance(given[0], (list, tuple)) else given[:1]:
                self._notes.used(one)
        elif self._notes.on and "source" in more:
            self._notes.used(more["source"])
        return function(*given, **more)

    def _alone(self, function: Callable[..., Any], given: tuple[Any, ...], more: dict[str, Any]) -> Any:
        """Call it with all others bare."""
        if self._busy or not self._notes.on:
            return function(*given, **more)
        self._busy = True
        try:
            return function(*given, **more)
        finally:
            self._busy = False


Note = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


class Measure:
    """A function with a coat. Where it travels to another process, the function does, and the coat stays."""

    def __init__(self, function: Callable[..., Any], note: Note) -> None:
        functools.update_wrapper(self, function)
        self._function, self._note = function, note

    def __call__(self, *given: Any, **more: Any) -> Any:
        __tracebackhide__ = True
        return self._note(self._function, given, more)

    def __reduce__(self) -> Any:
        return copy.copy, (self._function,)

    def __repr__(self) -> str:
        return repr(self._function)


def _coat(method: FunctionType, note: Note) -> Callable[..., Any]:
    """A method with a coat: a function, because scikit-learn looks whether it is one."""

    @functools.wraps(method)
    def coated(*given: Any, **more: Any) -> Any:
        __tracebackhide__ = True
        return note(method, given, more)

    setattr(coated, _COAT, True)
    return coated


def _below(kind: type) -> Iterator[type]:
    one: type
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", "measure"))


def _mean(values: Any) -> Any:
    numbers = [float(value) for value in values]
    return sum(numbers) / len(numbers) if numbers else None


def _called(value: object, above: int) -> str:
    """What a value is called where a function was called with it; empty where it has no name."""
    if value is None:
        return ""
    frame = sys._getframe(above) if above else None
    if frame is None or len(frame.f_locals) > 5000:
        return ""
    return next((name for name, held in frame.f_locals.items() if held is value and not name.startswith("_")), "")
