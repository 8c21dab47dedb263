"""What a machine has, as its owner declares it: `[resources]` of `stellwerk.toml`, and options of a worker.

What can be seen, such as processors, is in `adapters.turns`; reading the project file is left to others.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stellwerk.core.errors import Invalid
from stellwerk.pipelines.model import parse_size

SEEN = {
    "cpus": "the executor says how many: `--on pool:4`",
    "gpus": "those that this process may see are counted: CUDA_VISIBLE_DEVICES",
}
"""What is not declared, and why."""
SHARED = ("cpus", "memory")
"""What a step gets as much of as there is, where it asks for more."""
OPTIONS = "such as --resource licence=2 --resource memory=8GiB"
MAX_NAME = 100
MOST = 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """What was declared of one machine.

    Args:
        memory: Such as `8GiB`; empty for what the machine has.
        custom: How many there are of anything by a name of one's own: `{"licence": 2}`.
    """

    memory: str = ""
    custom: Mapping[str, float] = field(default_factory=dict)

    def with_those_of(self, other: Stock) -> Stock:
        """Both; where both say something, it is what the other one says."""
        return Stock(memory=other.memory or self.memory, custom={**self.custom, **other.custom})


def parse(table: Mapping[str, Any]) -> Stock:
    """The table `[resources]` of a project file. Raises `Invalid` (`invalid-project`) for what declares nothing."""
    return _stock("stellwerk.toml [resources]", table, "invalid-project")


def parse_options(options: Iterable[str]) -> Stock:
    """Options such as `licence=2`. Raises `Invalid` (`invalid-resources`) for others."""
    table: dict[str, Any] = {}
    for option in options:
        name, sign, text = option.partition("=")
        if not sign or name in table:
            raise Invalid(
                f"--resource {option[:60]!r} {'says it again' if sign else 'gives no amount'} "
                "(expected NAME=AMOUNT, each name once)",
                code="invalid-resources",
                hint=OPTIONS,
            )
        table[name] = text if name == "memory" else _read(text)
    return _stock("--resource", table, "invalid-resources")


def meant(name: str, known: Collection[str]) -> str:
    """A question after the known name that is nearest to one that is not; empty if there is none."""
    near = [] if name in known else difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}? " if near else ""


def _stock(where: str, table: Mapping[str, Any], code: str) -> Stock:
    custom = dict(table)
    memory = _memory(where, custom.pop("memory"), code) if "memory" in custom else ""
    return Stock(memory=memory, custom={name: _amount(where, name, custom[name], code) for name in custom})


def _memory(where: str, value: Any, code: str) -> str:
    try:
        size = parse_size(value) if isinstance(value, str) else 0
    except Invalid:
        size = 0
    if size < 1:
        raise Invalid(
            f"{where} memory is {value!r} (expected a size)"[:200], code=code, hint="such as memory = '8GiB'"
        )
    return str(value)


def _amount(where: str, name: str, value: Any, code: str) -> float:
    if name in SEEN:
        raise Invalid(
            f"{where} has the key {name!r} (expected memory, and names of your own)", code=code, hint=SEEN[name]
        )
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise Invalid(
            f"{where} has the name {name[:60]!r} (expected 1 to {MAX_NAME} printable characters)", code=code
        )
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST:
        raise Invalid(
            f"{where} {name} is {value!r} (expected a number from 0 on: how many there are)"[:200],
            code=code,
            hint=meant(name, ("memory", *SEEN)).strip() or f"such as {name} = 2",
        )
    return float(value)


def _read(text: str) -> Any:
    """A number as it was typed; anything else stays text, and is refused as such."""
    try:
        return float(text)
    except ValueError:
        return text
