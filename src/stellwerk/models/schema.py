"""The complete reading of a skops schema, shared by loader and scanner. Pure: nothing is imported, loaded or run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from stellwerk.core.errors import Refused
from stellwerk.models.npy import Header
from stellwerk.models.rules import is_trusted

SCHEMA = "schema.json"
PROTOCOL = 2
MAX_DEPTH = 150
MAX_LITERAL = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What the schema of a skops model says: types outside the list, and reasons why it cannot be read completely."""

    untrusted: tuple[str, ...]
    problems: tuple[str, ...]


def examine(schema: Any, arrays: Mapping[str, Header]) -> Examination:
    """Read a skops schema completely. `arrays` are the headers of all other members; each must be referenced."""
    walk = _Walk(arrays=arrays)
    if not isinstance(schema, dict):
        return Examination(untrusted=(), problems=("the schema is not an object",))
    node = dict(schema)
    protocol = node.pop("protocol", None)
    if type(protocol) is not int or protocol != PROTOCOL:
        walk.problem(f"the skops protocol is not {PROTOCOL}")
    if not isinstance(node.pop("_skops_version", None), str):
        walk.problem("the skops version is missing")
    if node.get("__loader__") != "ObjectNode":
        walk.problem("the outermost object is not an estimator")
    walk.visit(node, 0)
    for name in sorted(set(arrays) - walk.referenced):
        walk.problem(f"member {name!r} belongs to nothing in the schema")
    return Examination(untrusted=tuple(sorted(walk.untrusted)), problems=tuple(walk.problems))


def read_schema(data: bytes) -> Any:
    """Parse schema.json strictly: UTF-8, no repeated keys, no NaN. Raises `Refused` `unreadable-schema`."""
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant)
    except (ValueError, RecursionError) as cause:
        raise Refused(f"the model's schema cannot be read: {cause}", code="unreadable-schema") from cause


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object repeats a key")
    return result


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


Node = dict[str, Any]
_COMMON = frozenset({"__class__", "__module__", "__loader__", "__id__"})
_TYPE_PART = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,200}")


@dataclass(slots=True, kw_only=True)
class _Walk:
    """Collects everything wrong with a schema.

    `open` holds the ids of the nodes being visited, `known` the first node of each id.
    """

    arrays: Mapping[str, Header]
    untrusted: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    referenced: set[str] = field(default_factory=set)
    open: set[int] = field(default_factory=set)
    known: dict[int, Node] = field(default_factory=dict)

    def problem(self, text: str) -> None:
        if len(self.problems) < 20:
            self.problems.append(text)

    def visit(self, node: Any, depth: int) -> None:
        if depth > MAX_DEPTH:
            self.problem("the schema is nested too deeply")
            return
        if not isinstance(node, dict):
            self.problem("a node of the schema is not an object")
            return
        loader, name, identity = self._head(node)
        read = _LOADERS.get(loader)
        if not is_trusted(loader, name):
            self.untrusted.add(name if read else f"{name} ({loader})")
        if read is None:
            return
        if identity is not None and identity in self.open:
            self.problem(f"a {name} contains itself")
            return
        # The loader takes the first node of an id for all others, whatever these say.
        if identity is not None and self.known.setdefault(identity, node) != node:
            self.problem(f"a {name} has the id of another node")
            return
        if identity is not None:
            self.open.add(identity)
        for child in read(self, node):
            self.visit(child, depth + 1)
        if identity is not None:
            self.open.discard(identity)

    def _head(self, node: Node) -> tuple[str, str, int | None]:
        """Loader, full type name and id of a node, each of the right type."""
        loader, module, name = (node.get(key) for key in ("__loader__", "__module__", "__class__"))
        if not (isinstance(loader, str) and isinstance(module, str) and isinstance(name, str)):
            self.problem("a node has no loader, module or class")
            return "", "unknown", None
        if not _TYPE_PART.fullmatch(module) or not _TYPE_PART.fullmatch(name):
            self.problem("a node names a module or class that is not an identifier")
        identity = node.get("__id__")
        if identity is not None and type(identity) is not int:
            self.problem("a node has an id that is not a number")
            identity = None
        return loader[:60], f"{module}.{name}"[:200], identity

    def keys(self, node: Node, *expected: str, optional: tuple[str, ...] = ()) -> bool:
        """Whether a node has exactly these fields besides the common ones."""
        extra = set(node) - _COMMON
        if set(expected) <= extra <= {*expected, *optional}:
            return True
        self.problem(f"a {node['__loader__']} has other fields than expected: {sorted(extra)[:6]}")
        return False

    def array(self, node: Node) -> Header | None:
        """The header of the member an array node names."""
        name = node.get("file")
        found = self.arrays.get(name) if isinstance(name, str) else None
        if found is None:
            self.problem(f"an array names the member {name!r}, which is not in the archive")
            return None
        self.referenced.add(str(name))
        return found


def _json(walk: _Walk, node: Node) -> Iterator[Node]:
    if walk.keys(node, "content", optional=("is_json",)) and _literal(node) is _MISSING:
        walk.problem("a literal is not a plain JSON value")
    return iter(())


_MISSING = object()


def _literal(node: Any) -> Any:
    """The scalar a JsonNode holds, or `_MISSING`. NaN and infinities are allowed: they are usual parameters."""
    text = node.get("content") if isinstance(node, dict) and node.get("__loader__") == "JsonNode" else None
    if not isinstance(text, str) or len(text) > MAX_LITERAL:
        return _MISSING
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _MISSING
    return _MISSING if isinstance(value, (dict, list)) else value


def _dict(walk: _Walk, node: Node) -> Iterator[Node]:
    if not walk.keys(node, "content", "key_types"):
        return
    content, types = node["content"], node["key_types"]
    listed = types.get("content") if isinstance(types, dict) and types.get("__loader__") == "ListNode" else None
    if not isinstance(content, dict) or not isinstance(listed, list) or len(listed) != len(content):
        walk.problem("a dictionary has no type for each of its keys")
        return
    if not all(isinstance(item, dict) and item.get("__loader__") == "TypeNode" for item in listed):
        walk.problem("a dictionary's key types are not types")
    yield types
    yield from content.values()


def _items(walk: _Walk, node: Node) -> Iterator[Node]:
    if not walk.keys(node, "content"):
        return
    if not isinstance(node["content"], list):
        walk.problem("a sequence has no list of items")
        return
    yield from node["content"]


def _slice(walk: _Walk, node: Node) -> Iterator[Node]:
    if walk.keys(node, "content"):
        content = node["content"]
        bounds = list(content.values()) if isinstance(content, dict) else []
        if not (isinstance(content, dict) and set(content) == {"start", "stop", "step"}) or any(
            bound is not None and type(bound) is not int for bound in bounds
        ):
            walk.problem("a slice has bounds that are not numbers")
    return iter(())


def _leaf(walk: _Walk, node: Node) -> Iterator[Node]:
    walk.keys(node)
    return iter(())


def _partial(walk: _Walk, node: Node) -> Iterator[Node]:
    content = node.get("content")
    if not walk.keys(node, "content"):
        return
    if not isinstance(content, dict) or set(content) != {"func", "args", "kwds", "namespace"}:
        walk.problem("a partial function has other parts than expected")
        return
    if not isinstance(content["func"], dict) or content["func"].get("__loader__") != "FunctionNode":
        walk.problem("a partial function wraps something other than a function")
    yield from content.values()


def _object_node(walk: _Walk, node: Node) -> Iterator[Node]:
    if walk.keys(node, optional=("content",)) and node.get("content") is not None:
        yield node["content"]


def _content(walk: _Walk, node: Node) -> Iterator[Node]:
    if walk.keys(node, "content"):
        yield node["content"]


def _generator(walk: _Walk, node: Node) -> Iterator[Node]:
    content = node.get("content")
    if not walk.keys(node, "content"):
        return
    if not isinstance(content, dict) or set(content) != {"bit_generator", "seed_seq"}:
        walk.problem("a random generator has other parts than expected")
        return
    state = content["bit_generator"]
    names = state.get("content") if isinstance(state, dict) else None
    # The name is turned into a class and called, so it is checked here like a type.
    if not isinstance(names, dict) or _literal(names.get("bit_generator")) != "PCG64":
        walk.untrusted.add("numpy.random bit generator other than PCG64")
    yield from content.values()


def _array(walk: _Walk, node: Node) -> Iterator[Node]:
    if node.get("type") == "numpy":
        if walk.keys(node, "type", "file"):
            walk.array(node)
    elif node.get("type") == "json" and walk.keys(node, "type", "content", "shape"):
        if not isinstance(node["content"], list):
            walk.problem("an object array has no list of items")
            return
        yield from node["content"]
        yield node["shape"]
    else:
        walk.problem("an array is stored in an unknown way")


def _reduced(walk: _Walk, node: Node) -> Iterator[Node]:
    if not walk.keys(node, "__reduce__", "content"):
        return
    reduce = node["__reduce__"]
    if not isinstance(reduce, dict) or set(reduce) != {"args"}:
        walk.problem("an object's constructor has other parts than its arguments")
        return
    yield reduce["args"]
    yield node["content"]


def _tree(walk: _Walk, node: Node) -> Iterator[Node]:
    """A decision tree's constructor copies `n_outputs` numbers out of an array without looking at its length."""
    yield from _reduced(walk, node)
    reduce = node.get("__reduce__")
    args = reduce.get("args") if isinstance(reduce, dict) else None
    items = args.get("content") if isinstance(args, dict) else None
    if not isinstance(items, list) or len(items) != 3 or not isinstance(items[1], dict):
        walk.problem("a tree's constructor has other arguments than expected")
        return
    features, outputs = _literal(items[0]), _literal(items[2])
    header = walk.array(items[1])
    if header is None or type(features) is not int or type(outputs) is not int:
        walk.problem("a tree's constructor has arguments of another type than expected")
    elif not 0 < outputs == prod(header.shape) or len(header.shape) != 1 or header.kind != "i":
        walk.problem("a tree's constructor would read beyond its array")


_LOADERS: dict[str, Callable[[_Walk, Node], Iterator[Node]]] = {
    "JsonNode": _json,
    "DictNode": _dict,
    "ListNode": _items,
    "SetNode": _items,
    "TupleNode": _items,
    "SliceNode": _slice,
    "TypeNode": _leaf,
    "FunctionNode": _leaf,
    "PartialNode": _partial,
    "ObjectNode": _object_node,
    "DTypeNode": _content,
    "RandomGeneratorNode": _generator,
    "NdArrayNode": _array,
    "LossNode": _reduced,
    "TreeNode": _tree,
}
