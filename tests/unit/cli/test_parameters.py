"""`-p name=value`: read as the pipeline's own annotations say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stellwerk.cli import parameters
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.pipelines.authoring import Pipeline, pipeline, step


@step
def make(a: Any) -> int:
    return 1


@pipeline
def typed(
    whole: int = 1,
    real: float = 1.0,
    text: str = "",
    yes: bool = False,
    some: "int | None" = None,  # noqa: UP037 - annotations may be text
    either: int | str = 1,
    free=None,  # type: ignore[no-untyped-def]
    named="x",  # type: ignore[no-untyped-def]
    many: list[int] | None = None,
):
    return make(whole)


@pipeline
def raising(limit: int = 1):  # type: ignore[no-untyped-def]
    raise ValueError(f"limit {limit} is odd")


@pytest.mark.parametrize(
    ("expected", "given"),
    [
        ({"whole": 6}, "whole=6"),
        ({"real": 0.5}, "real=0.5"),
        ({"real": 2}, "real=2"),
        ({"text": "6"}, "text=6"),
        ({"text": "a=b"}, "text=a=b"),
        ({"text": ""}, "text="),
        ({"yes": True}, "yes=true"),
        ({"yes": True}, "yes=True"),
        ({"some": None}, "some=null"),
        ({"some": 4}, "some=4"),
        ({"either": 4}, "either=4"),
        ({"either": "four"}, "either=four"),
        ({"free": [1, 2]}, "free=[1, 2]"),
        ({"free": "monday"}, "free=monday"),
        ({"named": "2013"}, "named=2013"),
        ({"many": [1, 2]}, "many=[1,2]"),
    ],
)
def test_values_are_read_by_their_annotation(expected: dict[str, Any], given: str) -> None:
    """Text stays text where text is declared; all else is JSON, and words only where words may be."""
    read = parameters.read(typed, [given])

    assert expected == read
    assert [type(value) for value in expected.values()] == [type(value) for value in read.values()]


@pytest.mark.parametrize(
    ("code", "given"),
    [
        ("wrong-type", ["whole=six"]),
        ("wrong-type", ["yes=maybe"]),
        ("wrong-type", ["some=x"]),
        ("usage", ["whole"]),
        ("usage", ["=3"]),
        ("usage", ["whole=1", "whole=2"]),
        ("wrong-type", ["whole=0.5"]),
        ("unknown-argument", ["wohle=1"]),
    ],
)
def test_what_cannot_be_meant_is_refused(code: str, given: list[str]) -> None:
    """Before anything is executed, with a code and a way out."""
    with pytest.raises(Invalid) as caught:
        parameters.plan(typed, given)

    assert code == caught.value.code


def test_a_pipeline_that_raises_shows_its_own_traceback() -> None:
    """Planning runs the user's code; its error is the user's, with the user's lines."""
    with pytest.raises(Invalid, match="limit 3 is odd") as caught:
        parameters.plan(raising, ["limit=3"])

    assert "pipeline-not-plannable" == caught.value.code
    assert Path(__file__).name in caught.value.message


def pipelines(folder: Path, *names: str) -> Path:
    body = "".join(f"\n\n@sw.pipeline\ndef {name}():\n    return None\n" for name in names)
    file = folder / f"of_{'_'.join(names) or 'none'}.py"
    file.write_text("import stellwerk as sw\n\nprint('imported')\n" + body)
    return file


def test_the_only_pipeline_needs_no_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And what its file prints while it is imported does not reach stdout, which is for data."""
    found = parameters.find(pipelines(tmp_path, "delay"), "")

    assert isinstance(found, Pipeline)
    assert "delay" == found.name
    assert ("", "imported\n") == capsys.readouterr()


@pytest.mark.parametrize(
    ("kind", "code", "names", "asked"),
    [
        (NotFound, "no-pipeline", (), ""),
        (NotFound, "unknown-pipeline", ("delay", "price"), "dely"),
        (Invalid, "which-pipeline", ("delay2", "price2"), ""),
    ],
)
def test_a_pipeline_that_is_not_clear_is_asked_for(
    tmp_path: Path, kind: type[Exception], code: str, names: tuple[str, ...], asked: str
) -> None:
    """None, several, or another name: each says what there is."""
    with pytest.raises(kind) as caught:
        parameters.find(pipelines(tmp_path, *names), asked)

    assert code == caught.value.code  # type: ignore[attr-defined]
    assert all(name in str(caught.value) for name in names)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    """With what to do about it."""
    with pytest.raises(NotFound, match=r"no pipeline file 'nope\.py'") as caught:
        parameters.find(tmp_path / "nope.py", "")

    assert "--file" in caught.value.hint
