"""A change as the comment on a merge request: the verdict first, then what changed, then the details, folded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

from stellwerk.core.digest import short
from stellwerk.governance.change import figures
from stellwerk.governance.change.model import Change, Changed, Judged, Measured, Side, StepLine
from stellwerk.governance.change.safe import block, code

SIGNAL = {"clear": "🟢", "stop": "🔴", "unproven": "🟡"}
OUTCOME = {"pass": "✓", "fail": "✗", "unproven": "?"}
STATUSES = ("failed", "interrupted", "running", "ran", "cached", "skipped", "not reached")
MOST_LINES = 8
"""Of one kind that stand in the open; the rest is folded."""
MOST_FOLDED = 60
LIMIT = 60_000
"""Characters of a comment. GitHub takes 65,536."""
TEXT = 3000
"""Characters of a message or a log."""

Images = Mapping[str, str]
"""Title → where the picture is."""


def marker(change: Change) -> str:
    """The line by which the comment of a pipeline is found again. Nothing that people named is in it."""
    name = change.head.pipeline.encode("utf-8", "surrogatepass")
    return f"<!-- stellwerk ci report {hashlib.sha256(name).hexdigest()[:16]} -->"


def render(
    change: Change, *, images: Images | None = None, build: str = "", hidden: str = "", limit: int = LIMIT
) -> str:
    """The whole comment. Where it would be too long, folded parts are left out from the end, and that is said.

    Args:
        build: Address of the build, of which only those of the web are linked.
        hidden: Lines for the next build, which nobody sees.
    """
    parts = ["\n".join([marker(change), _head(change)]), _numbers(change), _changes(change)]
    folded = [part for part in (make(change) for make in _FOLDED) if part]
    pictures = _pictures(images or {})
    foot = "\n\n".join(filter(None, (_foot(change, build), hidden)))
    left_out = 0
    while True:
        said = f"_{left_out} more parts are in the full report._" if left_out else ""
        text = "\n\n".join(part for part in (*parts, *folded, pictures, said, foot) if part) + "\n"
        if len(text) <= limit or not folded:
            return text if len(text) <= limit else text[: limit - 1] + "\n"
        folded.pop()
        left_out += 1


# The verdict


def _head(change: Change) -> str:
    head = change.head
    subject = code(head.model) if head.model else code(head.pipeline)
    lines = [f"## {SIGNAL[change.outcome]} {change.outcome} · {subject}", "", _why(change)]
    lines += ["", _settle(change)] if change.next and change.outcome != "clear" else []
    lines += ["", *(_failure(step) for step in change.failed[:3])] if change.failed else []
    if not change.failed and change.head.status == "failed" and change.head.error:
        lines += ["", block(change.head.error[:TEXT])]
    return "\n".join(lines)


def _why(change: Change) -> str:
    needed = [one.n_needed for one in change.verdicts if one.outcome == "unproven" and one.n_needed]
    parts = [f"**{_sentence(change)}**"]
    if change.outcome == "unproven" and needed:
        parts.append(f"About **{max(needed):,} more labelled gate cases** would probably settle it.")
    if change.base is not None:
        parts.append(f"Compared with {_named(change.base)}.")
    elif change.no_base:
        parts.append("Compared with nothing: " + _plainly(change.no_base) + ".")
    if change.head.dirty:
        parts.append("It ran from files that differ from the commit.")
    return " ".join(parts)


def _sentence(change: Change) -> str:
    """Why, with names in code spans: rules put names of steps and endpoints into the reason."""
    failed = change.failed
    if failed:
        names = ", ".join(code(step.name) for step in failed[:3])
        more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
        return f"Step {names}{more} failed."
    if change.outcome == "unproven" and not change.verdicts and change.head.model:
        return f"Nobody has proven {code(change.head.model)} yet."
    if change.verdicts:
        worst = next(one for one in change.verdicts if one.outcome == change.outcome)
        where = f" on {code(worst.endpoint)}" if worst.endpoint != change.head.model.partition("@")[0] else ""
        return f"{worst.why[:1].upper()}{worst.why[1:]}{where}."
    return f"{change.why[:1].upper()}{change.why[1:]}."


def _plainly(text: str) -> str:
    """A reason of ours in which a foreign name may stand: all of it in a code span."""
    return code(text, most=200)


def _settle(change: Change) -> str:
    what = "Fetch the step with what it read" if change.failed else "Settle it"
    return f"{what}: {code(change.next, most=200)}"


def _failure(step: StepLine) -> str:
    told = "\n".join(part for part in (step.error, step.log) if part)
    return "\n".join([f"**✗ {code(step.name)}**", "", block(_end(told) or "it said nothing")])


def _end(text: str) -> str:
    """How a message begins and its traceback ends."""
    lines = text.strip().split("\n")
    shown = lines if len(lines) <= 24 else [*lines[:2], "…", *lines[-20:]]
    return "\n".join(line[:300] for line in shown)[:TEXT]


def _named(side: Side) -> str:
    parts = [code(side.model or side.run)]
    parts += [f"from {code(side.asked)}"] if side.asked and side.asked not in (side.model, side.run) else []
    parts += [f"at {code(side.commit[:8])}"] if side.commit else []
    return " ".join(parts)


# The numbers


def _numbers(change: Change) -> str:
    if all(one.after is None for one in change.metrics):
        return _gate(change)
    pairs = any(one.lower is not None for one in change.metrics)
    shown = change.metrics[:MOST_LINES]
    rows = [_metric(one, pairs=pairs, base=change.base is not None) for one in shown]
    head = ["metric", "here"]
    if change.base is not None:
        before = code(change.base.asked or change.base.model or "before")
        head = ["metric", before, "here", "change"] + (["95 % interval", "worse ┆ better", ""] if pairs else [])
    lines = [
        _row(head),
        _row(["---", *("--:" for _ in head[1:4]), *(["---", ":-:", "---"] if len(head) > 4 else [])]),
    ]
    lines += [_row(row) for row in rows]
    return "\n\n".join(filter(None, ["\n".join(lines), "\n".join(_caveats(change)), _gate(change)]))


def _gate(change: Change) -> str:
    """What weighs most: the sealed cases, which neither was trained nor chosen on."""
    if not change.paired:
        return ""
    said = [
        f"{_title(one)} **{figures.signed(one.gain)}** ({figures.interval(one)}, {one.n:,} cases)"
        for one in change.paired
    ]
    return f"**On the sealed gate cases**, above zero is better: {'; '.join(said[:MOST_LINES])}."


def _title(one: Measured) -> str:
    """The name of one of our metrics; any other stands in a code span."""
    return one.title if one.larger_is_better is not None and one.title else code(one.name)


def _metric(one: Measured, *, pairs: bool, base: bool) -> list[str]:
    arrow = {True: " ↑", False: " ↓", None: ""}[one.larger_is_better]
    name = _title(one) + arrow
    if not base:
        return [name, figures.figure(one.after)]
    row = [name, figures.figure(one.before), figures.figure(one.after), f"**{figures.difference(one)}**"]
    if not pairs:
        return row
    said = {"better": "**better**", "worse": "**worse**", "": "no interval"}.get(one.judgement, "undecided")
    between = figures.interval(one).replace(" ", "\N{NO-BREAK SPACE}")
    return [*row, between, code(figures.strip(one)) if figures.strip(one) else "", said]


def _caveats(change: Change) -> list[str]:
    pairing, lines = change.pairing, []
    if pairing.rows:
        said = f"Paired: both models answered the same {pairing.rows:,}"
        said += f" of {pairing.of:,} selection rows" if pairing.of != pairing.rows else " selection rows"
        said += f", matched by the {pairing.columns} columns that both tables have" if pairing.columns else ""
        lines.append(f"<sub>{said}. The model was chosen on them: the gate decides, not they.</sub>")
        lines += [f"<sub>{_plainly(pairing.note)}</sub>"] if pairing.note else []
    elif pairing.why_not:
        lines.append(f"<sub>No intervals: {_plainly(pairing.why_not)}. Each side was measured on its own rows.</sub>")
    hidden = len(change.metrics) - MOST_LINES
    lines += [f"<sub>{hidden} more metrics are folded below.</sub>"] if hidden > 0 else []
    return lines


# What changed


def _changes(change: Change) -> str:
    if change.base is None:
        return ""
    lines = [*_params(change), *_data(change), *_inputs(change), *_code(change), *_environment(change)]
    if not lines:
        return "**What changed** Nothing that the runs know of: same parameters, data, code and environment."
    shown = lines[: 2 * MOST_LINES]
    more = [f"- and {len(lines) - len(shown)} more, folded below"] if len(lines) > len(shown) else []
    return "\n".join(["### What changed", *shown, *more])


def _params(change: Change) -> list[str]:
    return [f"- **parameter** {code(one.name)} {_moved(one)}" for one in change.params]


def _moved(one: Changed) -> str:
    if not one.before:
        return f"{code(one.after)} is new"
    return f"{code(one.before)} is gone" if not one.after else f"{code(one.before)} → {code(one.after)}"


def _data(change: Change) -> list[str]:
    lines = []
    for one in change.data:
        moved = f"{one.before or '–'} → {one.after or '–'}"
        said = f": {'; '.join(code(line) for line in one.lines)}" if one.lines else ""
        if one.before != one.after:
            lines.append(f"- **data** {code(one.name)} {moved}{said}")
        if one.schema:
            lines.append(f"- **schema** of {code(one.name)}: {_some(one.schema)}")
        if one.contract:
            promised = f": {_some(one.promises)}" if one.promises else ""
            lines.append(f"- **contract** {code(one.name)} {one.contract}{promised}")
    return lines


def _inputs(change: Change) -> list[str]:
    return [f"- **inputs** of the model: {_some(change.inputs)}"] if change.inputs else []


def _code(change: Change) -> list[str]:
    return [f"- **code** of {code(one.step)}: {_some(one.parts, most=4)}" for one in change.code]


def _environment(change: Change) -> list[str]:
    if not change.environment:
        return []
    said = [f"{one.name} {one.before or '–'} → {one.after or '–'}" for one in change.environment]
    return [f"- **environment**: {_some(said)}"]


def _some(items: Sequence[str], *, most: int = 5) -> str:
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(code(item) for item in items[:most]) + more


# Details


def _steps(change: Change) -> str:
    if not change.steps:
        return ""
    counts = {status: sum(step.status == status for step in change.steps) for status in STATUSES}
    title = "Steps: " + ", ".join(f"{number} {status}" for status, number in counts.items() if number)
    rows = [["step", "", "took", "step key"], ["---", "---", "--:", "---"]]
    rows += [
        [code(step.name), _status(step), _took(step), code(_key(step)) if step.key else ""]
        for step in change.steps[:MOST_FOLDED]
    ]
    return _fold(title, "\n".join([*map(_row, rows), *_more(len(change.steps))]))


def _key(step: StepLine) -> str:
    """The whole key where somebody will fetch the step by it; otherwise how it begins."""
    return step.key if step.status == "failed" else short(step.key)


def _status(step: StepLine) -> str:
    return f"**{step.status}**" if step.status in ("failed", "interrupted") else step.status


def _took(step: StepLine) -> str:
    return f"{step.seconds:.1f} s" if step.status in ("ran", "failed") else ""


def _checks(change: Change) -> str:
    return "\n\n".join(_verdict(one) for one in change.verdicts)


def _verdict(one: Judged) -> str:
    order = {"fail": 0, "unproven": 1, "pass": 2}
    rows = [["", "check", "finding"], ["---"] * 3]
    rows += [
        [OUTCOME[reason.outcome], code(reason.check), code(reason.text, most=300)]
        for reason in sorted(one.reasons, key=lambda reason: order[reason.outcome])[:MOST_FOLDED]
    ]
    until = (
        f", holds until {one.valid_until:%Y-%m-%d %H:%M} UTC" if one.valid_until and one.outcome == "clear" else ""
    )
    title = f"Verdict on <code>{_html(one.endpoint)}</code>: {one.outcome}, attempt {one.attempt}{until}"
    return _fold(title, "\n".join([*map(_row, rows), *_more(len(one.reasons))]))


def _rest(change: Change) -> str:
    """What was too long to stand in the open."""
    lines = [f"- {_title(one)}: {figures.figure(one.before)} → "
             f"{figures.figure(one.after)}" for one in change.metrics[MOST_LINES:]]  # fmt: skip
    for data in change.data:
        lines += [f"- {code(data.name)}: {code(line, most=200)}" for line in (*data.schema[5:], *data.promises[5:])]
    for step in change.code:
        lines += [f"- {code(step.step)}: {code(part, most=200)}" for part in step.parts[4:]]
    lines += [f"- {code(one.name)} {_moved(one)}" for one in change.environment[5:]]
    if not lines:
        return ""
    return _fold("Everything that changed", "\n".join([*lines[:MOST_FOLDED], *_more(len(lines))]))


def _runs(change: Change) -> str:
    rows = [["", "run", "model", "branch", "commit", "started"], ["---"] * 6]
    for what, side in (("here", change.head), ("compared with", change.base)):
        if side is not None:
            model = code(side.model) if side.model else "–"
            where = [code(side.branch) if side.branch else "–", code(side.commit[:12]) if side.commit else "–"]
            rows.append([what, code(side.run), model, *where, f"{side.started_at:%Y-%m-%d %H:%M} UTC"])
    return _fold("Runs", "\n".join(map(_row, rows)))


_FOLDED: tuple[Callable[[Change], str], ...] = (_checks, _steps, _rest, _runs)


def _pictures(images: Images) -> str:
    """Pictures by addresses that were made here, or asked for: nothing foreign is in them."""
    if not images:
        return ""
    return _fold("Pictures", "\n\n".join(f"![{title}]({where})" for title, where in images.items()))


def _foot(change: Change, build: str) -> str:
    linked = f" · [build]({build})" if linkable(build) else ""
    return f"<sub>`stellwerk ci report` · {change.made_at:%Y-%m-%d %H:%M} UTC{linked}</sub>"


def linkable(url: str) -> bool:
    """Whether an address can stand in a link as it is: of the web, and without anything that Markdown reads."""
    return url.startswith(("https://", "http://")) and all(c.isalnum() or c in "-._~:/?#@!$&*+,;=%" for c in url)


def _fold(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"


def _html(text: str) -> str:
    """A foreign name inside of HTML, where no code span is: only letters that can do nothing."""
    return "".join(c if c.isalnum() or c in "-. " else "_" for c in text)[:60]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _more(number: int) -> list[str]:
    return ["", f"_and {number - MOST_FOLDED} more_"] if number > MOST_FOLDED else []
