"""Arguments of steps and pipelines: checked and divided into parameters and inputs. No step is called here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.arguments import nearest
from stellwerk.core.errors import Invalid
from stellwerk.pipelines.model import Ref

_CHECKED: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool, "None": type(None)}


class Outputs(dict[str, Ref]):
    """The named outputs of a node: `parts["train"]`."""

    def __init__(self, node: str, refs: Mapping[str, Ref]) -> None:
        super().__init__(refs)
        self.node = node

    def __missing__(self, name: object) -> Ref:
        raise Invalid(
            f"step {self.node!r} has no output {name!r} (it has {', '.join(self)}){nearest(str(name), self)}",
            code="unknown-output",
        )


def check_importable(function: Callable[..., Any]) -> None:
    """Refuse functions that another process could not find by name."""
    name = getattr(function, "__qualname__", repr(function))
    if not inspect.isfunction(function) or "<" in name:
        raise Invalid(
            f"{name} cannot be found by name from another process (expected a function at the top of a module)",
            code="step-not-importable",
            hint="define it with `def` at the top level of a file",
        )


def check_signature(function: Callable[..., Any], signature: inspect.Signature) -> None:
    """Refuse functions whose arguments have no names of their own, or that do not simply return."""
    name = getattr(function, "__qualname__", repr(function))
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise Invalid(f"{name} is asynchronous or a generator (expected a plain function)", code="wrong-signature")
    for parameter in signature.parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise Invalid(
                f"{name} takes {parameter} (expected only arguments with names of their own)", code="wrong-signature"
            )


def texts(what: str, value: object) -> tuple[str, ...]:
    """Several texts; one text is none, because it would pass as its letters."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value):
        raise Invalid(f"{what} is {value!r} (expected a list of texts)", code="wrong-type")
    return tuple(value)


def mapping(what: str, value: object) -> dict[str, Any]:
    """Values by name, none for None."""
    if value is not None and (not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value)):
        raise Invalid(f"{what} is {value!r} (expected a dict by name)", code="wrong-type")
    return dict(value or {})


def split(
    name: str, signature: inspect.Signature | None, given: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Ref]]:
    """Divide arguments into JSON parameters and references; a list of references becomes `name[0]`, `name[1]`, ..."""
    params: dict[str, Any] = {}
    inputs: dict[str, Ref] = {}
    for key, value in given.items():
        if isinstance(value, Ref):
            inputs[key] = value
        elif isinstance(value, Outputs):
            raise Invalid(
                f"argument {key!r} of {name} is all of {value.node!r} (expected one of {', '.join(value)})",
                code="wrong-type",
                hint=f"pass one of them, such as [{next(iter(value))!r}]",
            )
        elif isinstance(value, (list, tuple)) and any(isinstance(item, Ref) for item in value):
            inputs |= _items(name, key, value)
        else:
            params[key] = value
    return constants(name, signature, params), inputs


def _items(name: str, key: str, values: list[Any] | tuple[Any, ...]) -> dict[str, Ref]:
    if not all(isinstance(value, Ref) for value in values):
        raise Invalid(
            f"argument {key!r} of {name} mixes outputs of steps with other values (expected only outputs)",
            code="wrong-type",
        )
    return {f"{key}[{number}]": ref for number, ref in enumerate(values)}


def gather(values: Mapping[str, Any]) -> dict[str, Any]:
    """The opposite of `split`: put `name[0]`, `name[1]`, ... together again."""
    gathered: dict[str, Any] = {}
    items: dict[str, dict[int, Any]] = {}
    for key, value in values.items():
        name, bracket, index = key.partition("[")
        if bracket:
            items.setdefault(name, {})[int(index.removesuffix("]"))] = value
        else:
            gathered[name] = value
    return gathered | {name: [found[index] for index in sorted(found)] for name, found in items.items()}


def constants(name: str, signature: inspect.Signature | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters in their canonical JSON form, checked against simple annotations.

    A default that has no JSON form is left to the function: its source is part of the step's code.
    """
    params: dict[str, Any] = {}
    for key, value in given.items():
        declared = signature.parameters[key] if signature else None
        if isinstance(value, Ref):
            raise Invalid(f"parameter {key!r} of {name} is the output of a step", code="wrong-type")
        try:
            plain = canonical.loads(canonical.dumps(value))
        except Invalid as cause:
            if declared is not None and value is declared.default:
                continue
            raise Invalid(
                f"parameter {key!r} of {name} is a {type(value).__name__} without JSON form: {cause}",
                code="not-json",
                hint="pass plain data, or make it inside a step",
            ) from cause
        if declared is not None and value is not declared.default:
            _check_type(name, key, declared.annotation, value)
        params[key] = as_declared(declared.annotation, plain) if declared is not None else plain
    return params


def as_declared(annotation: object, value: Any) -> Any:
    """JSON writes 1.0 as 1; a parameter that is declared a float stays one."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if whole and _names(annotation) in ({"float"}, {"float", "None"}) else value


def _check_type(name: str, key: str, annotation: object, value: Any) -> None:
    expected = _names(annotation)
    if not expected:
        return
    kinds = tuple(_CHECKED[one] for one in expected)
    fits = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
    if not fits and not (float in kinds and isinstance(value, int) and not isinstance(value, bool)):
        raise Invalid(
            f"parameter {key!r} of {name} is {value!r} (expected {' or '.join(sorted(expected))})",
            code="wrong-type",
        )


def _names(annotation: object) -> set[str]:
    """The simple types of an annotation, or nothing if it says more than that."""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", None) or str(annotation)
    if not isinstance(annotation, (str, type)) and annotation is not None:
        text = str(annotation)
    found = {part.strip() for part in text.strip("'\"").split("|")}
    return found if found <= _CHECKED.keys() else set()
