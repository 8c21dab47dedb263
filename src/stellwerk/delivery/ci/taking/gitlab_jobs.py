"""The jobs of a `.gitlab-ci.yml` as GitLab resolves `extends`, `!reference`, `default` and global keywords."""

from __future__ import annotations

from dataclasses import dataclass, replace

from stellwerk.delivery.ci.taking.notes import Notes
from stellwerk.delivery.ci.taking.yaml import Items, Node, Table, flag, table, text, texts

MAX_EXTENDS = 11
MAX_REFERENCES = 10
STAGES = (".pre", "build", "test", "deploy", ".post")
GLOBAL = ("default", "include", "stages", "variables", "workflow", "spec", "pages_deploy")
AS_DEFAULT = ("image", "services", "cache", "before_script", "after_script")
"""Keywords that used to be global, and still mean a default."""
INHERITED = (
    *AS_DEFAULT, "artifacts", "retry", "timeout", "interruptible", "tags", "hooks", "id_tokens",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job with everything it inherits."""

    name: str
    line: int
    body: Table
    stage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A file: its stages in order, its jobs as written, what holds for all."""

    stages: tuple[str, ...]
    jobs: tuple[Job, ...]
    variables: Table
    top: Table


def resolve(documents: list[Node], notes: Notes) -> Pipeline:
    """The jobs of a file, each complete."""
    top = table(documents[-1])
    if len(documents) > 1:
        line = documents[0].line
        notes.left(line, "spec", "inputs of a component have no values here", "put the values in place of $[[ … ]]")
    default = _default(top)
    found = []
    for name, node in top.entries.items():
        if name in GLOBAL or name in AS_DEFAULT or name.startswith("."):
            continue
        line = top.lines[name]
        if not isinstance(node, Table):
            notes.left(line, name, "it is neither a job nor a keyword that is known")
            continue
        body = table(_references(_extended(name, top, notes), top, notes, MAX_REFERENCES))
        found.append(
            Job(
                name=name,
                line=line,
                body=_with_default(body, default),
                stage=text(body.entries.get("stage")) or "test",
            )
        )
    stages = tuple(one.text for one in texts(top.entries.get("stages"))) or STAGES[1:-1]
    stages = (".pre", *(stage for stage in stages if stage not in (".pre", ".post")), ".post")
    variables = table(_references(table(top.entries.get("variables")), top, notes, MAX_REFERENCES))
    return Pipeline(stages=stages, jobs=tuple(found), variables=variables, top=top)


def _default(top: Table) -> Table:
    declared = table(top.entries.get("default"))
    old = {name: top.entries[name] for name in AS_DEFAULT if name in top.entries}
    return Table(
        line=declared.line,
        entries={**old, **declared.entries},
        lines={**{name: top.lines[name] for name in old}, **declared.lines},
    )


def _with_default(body: Table, default: Table) -> Table:
    inherit = table(body.entries.get("inherit"))
    allowed = inherit.entries.get("default")
    names: set[str] = set(INHERITED)
    if flag(allowed) is False:
        names = set()
    elif isinstance(allowed, Items):
        names &= {one.text for one in texts(allowed)}
    extra = {name: default.entries[name] for name in default.entries if name in names and name not in body.entries}
    return replace(
        body,
        entries={**body.entries, **extra},
        lines={**body.lines, **{name: default.lines[name] for name in extra}},
    )


def _extended(name: str, top: Table, notes: Notes, seen: tuple[str, ...] = ()) -> Table:
    body = table(top.entries.get(name))
    parents = texts(body.entries.get("extends"))
    result = Table(line=body.line)
    for parent in parents:
        line = body.lines["extends"]
        if parent.text not in top.entries:
            notes.left(
                line, f"{name}.extends", f"{parent.text!r} is not in this file", "copy it here from where it is"
            )
        elif parent.text in (*seen, name) or len(seen) >= MAX_EXTENDS:
            notes.left(line, f"{name}.extends", f"{parent.text!r} leads back here, or too deep")
        else:
            result = _merged(result, _extended(parent.text, top, notes, (*seen, name)))
            notes.taken(line, f"{name}.extends")
    return _merged(result, body)


def _merged(below: Table, above: Table) -> Table:
    """Mappings are merged key by key; anything else is replaced."""
    entries, lines = dict(below.entries), dict(below.lines)
    for name, value in above.entries.items():
        old = entries.get(name)
        entries[name] = _merged(old, value) if isinstance(old, Table) and isinstance(value, Table) else value
        lines[name] = above.lines[name]
    return Table(line=above.line, entries=entries, lines=lines, tag=above.tag)


def _references(node: Node, top: Table, notes: Notes, depth: int) -> Node:
    """A node with what its `!reference` tags name in their place."""
    if isinstance(node, Items) and node.tag == "!reference":
        path = [one.text for one in texts(node)]
        found: Node | None = _extended(path[0], top, notes) if path and path[0] in top.entries else None
        for name in path[1:]:
            found = table(found).entries.get(name)
        if found is None or depth == 0:
            notes.left(
                node.line, f"!reference [{', '.join(path)}]", "it names nothing in this file, or leads too deep"
            )
            return Items(line=node.line)
        notes.taken(node.line, f"!reference [{', '.join(path)}]")
        return _references(found, top, notes, depth - 1)
    if isinstance(node, Items):
        return replace(node, items=tuple(_references(item, top, notes, depth) for item in node.items))
    if isinstance(node, Table):
        return replace(
            node, entries={name: _references(value, top, notes, depth) for name, value in node.entries.items()}
        )
    return node
