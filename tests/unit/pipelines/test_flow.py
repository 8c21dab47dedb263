"""Branches, loops, waits, files and commands: what pipelines with them promise."""

from __future__ import annotations

import contextlib
import io
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stellwerk.core.errors import Invalid, StellwerkError
from stellwerk.pipelines.commands import command
from stellwerk.pipelines.model import Plan, Resources, Verdict, document, flat, parse
from stellwerk.pipelines.rules import describe

Write = Callable[..., ModuleType]

FLOW = """
import stellwerk as sw

@sw.step
def numbers(count: int): return list(range(count))

@sw.step
def square(x): return x * x

@sw.step
def total(values): return sum(values)

@sw.step
def say(word: str, number): return f"{word} {number}"

@sw.pipeline
def squares(count: int = 4):
    with sw.each(numbers(count)) as n:
        one = square(n)
    return {"each": one, "sum": total(one)}

@sw.pipeline
def written():
    with sw.each([1, [2, 3], "x"], at_once=1) as n:
        one = say("got", n)
    return one

@sw.pipeline
def nested(count: int = 3):
    with sw.each(numbers(count)) as n:
        some = numbers_of(n)
        with sw.each(some) as m:
            each = plus(m, n)
        inner = total(each)
    return {"flat": each, "sums": inner, "all": total(inner)}

@sw.step
def numbers_of(n): return list(range(n))

@sw.step
def plus(m, n): return 10 * n + m

@sw.pipeline
def choice(count: int = 4, limit: float = 3):
    found = total(numbers(count))
    with sw.when(found, above=limit) as large:
        big = say("large", found)
        unused = say(big, 1)
    with sw.otherwise(large):
        small = say("small", found)
    return {"said": sw.either(big, small), "big": big}

@sw.pipeline
def picky(count: int = 5):
    with sw.each(numbers(count)) as n:
        with sw.when(n, at_least=3):
            kept = square(n)
    return total(kept)

@sw.pipeline
def asks():
    found = total(numbers(3))
    answer = sw.wait_for_person("Is 3 right?", about=found, options=("yes", "no"))
    return say(answer, found)

@sw.pipeline
def ordered():
    first = square(2)
    with sw.after(first):
        second = numbers(1)
    return second
"""


PARTS = """
import stellwerk as sw

@sw.step
def numbers(count: int): return list(range(count))

@sw.step(retries=1)
def square(x):
    return x * x

@sw.step
def total(values): return sum(values)

@sw.step
def negative(x): return -x

@sw.pipeline
def squared(x):
    found = square(x)
    with sw.when(found, above=1) as large:
        less = negative(found)
    with sw.otherwise(large):
        same = total([found])
    return sw.either(less, same)

@sw.pipeline
def summed(count: int):
    with sw.each(numbers(count)) as n:
        one = squared(n)
    return total(one)

@sw.pipeline
def both():
    return {"first": summed(3), "second": summed(4), "one": squared(total(numbers(4)))}
"""


@pytest.fixture
def flow(write: Write) -> ModuleType:
    return write(FLOW, name="flow")


def test_a_loop_runs_once_for_each_item(flow: ModuleType, desk: Any) -> None:
    """The list comes from a step; outside, the outputs are a list; unchanged items are known the next time."""
    report = desk.execute(flow.squares())
    longer = desk.execute(flow.squares(count=5))

    assert [0, 1, 4, 9] == desk.values(report, "each")
    assert [14] == desk.values(report, "sum")
    assert ["square[0]", "square[1]", "square[2]", "square[3]"] == [
        task.task for task in report.tasks if task.node == "square"
    ]
    assert ["cached"] * 4 + ["done"] == [task.status for task in longer.tasks if task.node == "square"]
    assert [0] == desk.values(desk.execute(flow.squares(count=0)), "sum")


def test_a_loop_over_written_items(flow: ModuleType, desk: Any) -> None:
    """Items may be any plain data, and are part of the plan."""
    report = desk.execute(flow.written())

    assert ["got 1", "got [2, 3]", "got x"] == desk.values(report)


def test_loops_nest(flow: ModuleType, desk: Any) -> None:
    """Inside, each level sees its own items; outside, lists are flat and in order."""
    report = desk.execute(flow.nested())

    assert [10, 20, 21] == desk.values(report, "flat")
    assert [0, 10, 41] == desk.values(report, "sums")
    assert [51] == desk.values(report, "all")


def test_only_the_branch_that_is_taken_runs(flow: ModuleType, desk: Any) -> None:
    """The other one is omitted with what uses it, which is no failure; `either` goes on."""
    large, small = desk.execute(flow.choice()), desk.execute(flow.choice(limit=100))

    assert ("done", "done") == (large.status, small.status)
    assert (["large 6"], ["small 6"]) == (desk.values(large, "said"), desk.values(small, "said"))
    assert "big" not in small.results
    assert {"say": "omitted", "say-2": "omitted", "say-3": "done"} == {
        task.task: task.status for task in small.tasks if task.node.startswith("say")
    }


def test_a_branch_inside_a_loop_keeps_some_items(flow: ModuleType, desk: Any) -> None:
    """The list has what was computed."""
    assert [25] == desk.values(desk.execute(flow.picky()))


def test_a_condition_that_cannot_be_judged_fails_what_stands_in_it(write: Write, desk: Any) -> None:
    """With a message that says what was compared with what."""
    module = write(FLOW.replace("return sum(values)", 'return "many"'), name="flow")

    report = desk.execute(module.choice())

    assert "failed" == report.status
    assert ["invalid-condition"] * 2 == [task.failure.code for task in report.failures]
    assert "'many' cannot be compared with 3" in report.failures[0].failure.message


def test_a_wait_frees_the_machine(flow: ModuleType, desk: Any) -> None:
    """The execution ends as waiting; once it is decided, it goes on; the same question is not asked again."""
    waiting = desk.execute(flow.asks(), execution="e1")
    assert "waiting" == waiting.status
    assert ["wait-for-person"] == list(desk.waits.opened.values())
    assert {} == waiting.results

    desk.waits["wait-for-person"] = Verdict(value="yes")
    done = desk.execute(flow.asks(), execution="e1")
    again = desk.execute(flow.asks(), execution="e2")

    assert ["yes 3"] == desk.values(done)
    assert 1 == len(desk.waits.opened)
    assert {"cached"} == {task.status for task in again.tasks}


def test_an_answer_holds_for_no_other_code(write: Write, flow: ModuleType, desk: Any) -> None:
    """What was approved is what runs: any change of the plan's code asks anew."""
    desk.waits["wait-for-person"] = Verdict(value="yes")
    desk.execute(flow.asks(), execution="e1")
    desk.waits.clear()

    changed = write(FLOW.replace('f"{word} {number}"', 'f"{word}: {number}"'), name="flow")
    waiting = desk.execute(changed.asks(), execution="e2")

    assert "waiting" == waiting.status
    assert 2 == len(desk.waits.opened)


def test_a_refusal_fails_the_step(flow: ModuleType, desk: Any) -> None:
    """And skips what would have followed."""
    desk.waits["wait-for-person"] = Verdict(refusal="ben decided 'no'")
    report = desk.execute(flow.asks(), execution="e1")

    assert {"wait-for-person": "failed", "say": "skipped"} == {
        task.task: task.status for task in report.tasks if task.status not in ("done", "cached")
    }
    assert "ben decided 'no'" in report.failures[0].failure.message


def test_a_plan_that_waits_needs_somebody_who_watches(flow: ModuleType, desk: Any) -> None:
    """It is refused before anything runs."""
    with pytest.raises(Invalid) as refused:
        desk.execute(flow.asks(), waits=None)

    assert "nobody-watches" == refused.value.code


def test_a_step_may_come_after_another_without_using_it(flow: ModuleType, desk: Any) -> None:
    """Its key does not depend on it."""
    report = desk.execute(flow.ordered())

    assert ["node-finished square", "node-finished numbers"] == desk.said("node-finished")
    assert report.tasks[1].key == desk.execute(flow.squares(count=1)).tasks[0].key


def test_pausing_and_cancelling(flow: ModuleType, desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paused, nothing more is started and it can go on later; cancelled, nothing is."""
    monkeypatch.setattr("stellwerk.pipelines.engine.LOOK", 0.0)
    desk.memory.asked += ["", "", "pause", "pause", "pause"]
    paused = desk.execute(flow.squares())
    desk.memory.asked[:] = ["cancel"]
    cancelled = desk.execute(flow.squares())
    desk.memory.asked.clear()

    assert ("paused", "cancelled") == (paused.status, cancelled.status)
    assert [14] == desk.values(desk.execute(flow.squares()), "sum")


def test_steps_that_are_never_cached_run_each_time(write: Write, desk: Any) -> None:
    """But once in each execution, also when that is resumed; and `again` does it for any step."""
    module = write(FLOW.replace("@sw.step\ndef square", "@sw.step(cache=False)\ndef square"), name="flow")
    plan = module.ordered()

    assert ["done", "done"] == [task.status for task in desk.execute(plan, execution="e1").tasks]
    assert ["done", "cached"] == [task.status for task in desk.execute(plan, execution="e2").tasks]
    assert ["cached", "cached"] == [task.status for task in desk.execute(plan, execution="e2").tasks]
    again = desk.execute(plan, execution="e2", again=["numbers"])
    assert ["cached", "done"] == [task.status for task in again.tasks]


COMMANDS = """
import stellwerk as sw

@sw.step
def numbers(): return [1, 2, 3]

@sw.step
def read(file): return file.read_text()

@sw.pipeline
def run(python: str, factor: int = 2):
    made = sw.command(
        "times", python, "scripts/times.py", "{numbers}", "{factor}", "{result}",
        files=["scripts/times.py"], inputs={"numbers": numbers()}, outputs={"result": "out/result.json"}, factor=factor,
        timeout="1m",
    )
    return read(made["result"] if isinstance(made, dict) else made)

@sw.pipeline
def fails(python: str):
    return sw.command("bad", python, "-c", "import sys; print('no data'); sys.exit(3)")

@sw.pipeline
def prints(python: str):
    return sw.command("hello", python, "-c", "import os; print(os.environ['WORD'], sorted(os.listdir('.')))",
                      environ={"WORD": "hi"})
"""
SCRIPT = b"""
import json, sys
values = json.load(open(sys.argv[1]))
json.dump([int(sys.argv[2]) * value for value in values], open(sys.argv[3], "w"))
"""


def test_any_executable_is_a_step(write: Write, desk: Any) -> None:
    """Inputs and files of the project lie in its folder; what it writes is its output; content counts, not names."""
    module = write(COMMANDS, name="commands")
    desk.files["scripts/times.py"] = SCRIPT

    first = desk.execute(module.run(sys.executable))
    same = desk.execute(module.run(sys.executable))
    desk.files["scripts/times.py"] = SCRIPT + b"# more"
    changed = desk.execute(module.run(sys.executable))

    assert ["[2, 4, 6]"] == desk.values(first)
    assert {"cached"} == {task.status for task in same.tasks}
    assert ["cached", "done", "cached"] == [task.status for task in changed.tasks]


def test_a_command_that_fails_says_so(write: Write, desk: Any) -> None:
    """With its status and last words; what it printed is its log."""
    report = desk.execute(write(COMMANDS, name="commands").fails(sys.executable))
    failure = report.failures[0].failure

    assert "command-failed" == failure.cause
    assert "status 3: no data" in failure.message
    assert "no data\n" == failure.log


def test_a_command_that_is_not_there_is_told_without_a_traceback(write: Write, desk: Any) -> None:
    """By step and executable: all frames would be ours, or Python's."""
    report = desk.execute(write(COMMANDS, name="commands").fails("no-such-program-anywhere"))
    failure = report.failures[0].failure

    assert "no-such-command" == failure.cause
    assert "step 'bad' failed: command 'no-such-program-anywhere' cannot be started" in failure.message
    assert failure.message.endswith(failure.traceback)
    assert "Traceback" not in failure.traceback


@pytest.mark.parametrize(
    ("code", "cause", "said"),
    [
        ("pass", "missing-output", "did not write its output 'data'"),
        ("import os; os.mkdir('data')", "output-is-no-file", "left a folder as its output 'data' (expected a file)"),
        ("import os; os.symlink('gone', 'data')", "output-is-no-file", "left a link as its output 'data'"),
        ("import os; os.mkfifo('data')", "output-is-no-file", "left a special file as its output 'data'"),
    ],
)
def test_what_a_command_left_instead_of_a_file_is_told(code: str, cause: str, said: str) -> None:
    """A folder is not taken for nothing."""
    with pytest.raises(Invalid) as refused:
        command(argv=[sys.executable, "-c", code], params={}, outputs={"made": "data"}, environ={})

    assert cause == refused.value.code
    assert said in refused.value.message


def test_a_command_may_print_a_line_without_an_end() -> None:
    """It is taken in piece by piece and never held as a whole, and no character is cut where a piece ends."""
    seen = _Seen()
    code = "import sys; sys.stdout.write('é' * 20_000_000)"

    tracemalloc.start()
    with contextlib.redirect_stdout(seen), pytest.raises(Invalid) as refused:
        command(argv=[sys.executable, "-c", code], params={}, outputs={}, environ={})
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert "printed-too-much" == refused.value.code
    assert (20_000_000, {"é"}) == (seen.count, seen.characters)
    assert most < 20_000_000


class _Seen(io.TextIOBase):
    """Counts what is printed, and forgets it."""

    def __init__(self) -> None:
        self.count, self.characters = 0, set[str]()

    def write(self, text: str) -> int:
        self.count += len(text)
        self.characters |= set(text)
        return len(text)


def test_a_command_sees_only_what_it_is_given(write: Write, desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, and no variable of the engine's environment that may hold a secret."""
    monkeypatch.setenv("TOKEN", "secret")
    report = desk.execute(write(COMMANDS, name="commands").prints(sys.executable))

    assert ["hi []\n"] == desk.values(report)


def test_plans_are_read_back_from_their_documents(flow: ModuleType) -> None:
    """Whatever stands in them, but for the paths of this machine."""
    for made in (flow.choice(), flow.nested(), flow.asks(), flow.ordered(), flow.written()):
        again = parse(document(made))
        assert document(made) == document(again)
        assert made.digest == again.digest


def test_groups_are_described_for_people(flow: ModuleType) -> None:
    """Branches and loops as headings, what stands in them indented."""
    assert [
        "choice(count=4, limit=3.0)",
        "  numbers  step    count=4",
        "  total    step    values <- numbers",
        "  when total > 3:",
        "    say      step    number <- total, word='large'",
        "    say-2    step    word <- say, number=1",
        "  unless total > 3:",
        "    say-3    step    number <- total, word='small'",
        "  either   either  values[0] <- say, values[1] <- say-3",
        "  said = either",
        "  big = say",
    ] == describe(flow.choice())


def test_pipelines_inside_pipelines_are_described_for_people(write: Write) -> None:
    """Each call under a heading of its own, in the loop that it stands in, around the branches that it has."""
    assert [
        "both()",
        "  pipeline summed:",
        "    numbers     step    count=3",
        "    each of numbers:",
        "      pipeline squared:",
        "        square      step    x <- each.item, retries 1",
        "        when square > 1:",
        "          negative    step    x <- square",
        "        unless square > 1:",
        "          total       step    values[0] <- square",
        "        either      either  values[0] <- negative, values[1] <- total",
        "    total-2     step    values <- either",
    ] == describe(write(PARTS).both())[:12]


def test_pipelines_inside_pipelines_run_as_if_their_steps_were_written_there(write: Write, desk: Any) -> None:
    """In loops and with branches; what is known without the calls is known with them."""
    made = write(PARTS).both()
    report = desk.execute(made)
    without = desk.execute(flat(made))

    assert {"done"} == {task.status for task in report.tasks if task.status not in ("omitted", "cached")}
    assert [0 + 1 - 4] == desk.values(report, "first")
    assert [0 + 1 - 4 - 9] == desk.values(report, "second")
    assert [-36] == desk.values(report, "one")
    assert {"cached"} == {task.status for task in without.tasks if task.key and "either" not in task.node}
    assert [(task.task, task.key) for task in report.tasks] == [(task.task, task.key) for task in without.tasks]
    assert made.groups == parse(document(made)).groups
    assert [("summed",), ("summed", "squared"), ("summed", "squared")] == [group.calls for group in made.groups[:3]]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("with sw.when(3): pass", "wrong-arguments"),
        ("with sw.when(numbers(1), above=1, below=2): pass", "wrong-arguments"),
        ("with sw.each(5): pass", "wrong-type"),
        ("with sw.each(numbers(2)) as n: pass\n    return square(n)", "foreign-reference"),
        ("return sw.either(numbers(1))", "wrong-arguments"),
        ("return sw.command('x')", "missing-argument"),
        ("return sw.command('x', 'ls', '{gone}')", "unknown-argument"),
        ("return sw.file('../secret')", "invalid-path"),
        ("return sw.command('x', 'ls', inputs={'argv': numbers(1)})", "wrong-arguments"),
        ("return sw.wait_for_person('')", "wrong-arguments"),
        ("return sw.wait_for_person('ok?', options=('yes',))", "wrong-arguments"),
        ("return sw.wait_until('soon')", "invalid-duration"),
        ("with sw.after(1): pass", "wrong-arguments"),
        ("for one in numbers(3): pass", "unknown-value"),
    ],
)
def test_what_cannot_be_planned_is_refused(write: Write, body: str, code: str) -> None:
    """While it is planned, with a word about what was expected."""
    module = write(FLOW + f"\n@sw.pipeline\ndef wrong():\n    {body}\n", name="flow")

    with pytest.raises(StellwerkError) as refused:
        module.wrong()

    assert code == refused.value.code


def test_flow_works_outside_of_pipelines_as_an_error() -> None:
    """There is no plan that it could be in."""
    import stellwerk as sw

    for call in (lambda: sw.file("x"), lambda: sw.wait_until("2h"), lambda: sw.each([1]).__enter__()):
        with pytest.raises(Invalid) as refused:
            call()
        assert "outside-pipeline" == refused.value.code


def test_what_is_not_there_is_not_waited_for(write: Write, desk: Any) -> None:
    """A step that needs an accelerator is refused where there is none."""
    module = write(
        FLOW.replace("@sw.step\ndef square", "@sw.step(resources=sw.Resources(gpus=99))\ndef square"), name="flow"
    )

    with pytest.raises(Invalid) as refused:
        desk.execute(module.squares())

    assert "resources-not-there" == refused.value.code


def test_an_empty_plan_is_done(desk: Any, tmp_path: Path) -> None:
    """There is nothing to do."""
    assert "done" == desk.execute(Plan(name="nothing")).status
    assert Resources() == Resources(cpus=1)
