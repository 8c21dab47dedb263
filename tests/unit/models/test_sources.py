"""Sources of model versions: what has one reading is kept as written, everything else is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core.errors import Invalid
from stellwerk.models import sources


@pytest.mark.parametrize(
    ("text", "kind", "name", "which"),
    [
        ("runs:/run-1/model", "run", "run-1", ""),
        ("models:/m-1", "logged", "m-1", ""),
        ("models:/my model/3", "version", "my model", "3"),
        ("models:/prod%2Dmodel/3", "version", "prod%2Dmodel", "3"),
        ("models:/delay@champion", "version", "delay", "@champion"),
        ("models:/delay/Production", "version", "delay", "Production"),
        ("mlflow-artifacts:/1/models/m-1/artifacts", "place", "", ""),
        ("mlflow-artifacts:/models/foo///bar/", "place", "", ""),
        ("mlflow-artifacts://host:9000/models/artifact/..../", "place", "", ""),
        ("s3://bucket/a+b/c", "place", "", ""),
        ("https://host/model", "place", "", ""),
        ("dbfs:/databricks/model", "place", "", ""),
        ("wasbs://box@account.blob.core.windows.net/x", "place", "", ""),
        ("dummy-source", "nothing", "", ""),
    ],
)
def test_what_is_read(text: str, kind: str, name: str, which: str) -> None:
    """Each kind, and its parts."""
    found = sources.read(text)

    assert (text, kind, name, which) == (found.text, found.kind, found.name, found.which)


@pytest.mark.parametrize(
    "text",
    [
        "/etc", "etc", "./model", "file:///etc/passwd", "file://localhost/etc", "FILE:/etc", "//host/share", "C:\\x",
        "~", "$HOME", "", " ", ":", "dummy-source/..",
    ],
)  # fmt: skip
def test_local_paths(text: str) -> None:
    """Refused in MLflow's words (P2, P3)."""
    with pytest.raises(Invalid, match="To use a local path as a model version source, the run_id"):
        sources.read(text)
    with pytest.raises(Invalid, match="the model_id request parameter"):
        sources.read(text, beside="model_id")


@pytest.mark.parametrize(
    "text",
    [
        "s3://b/../../x", "mlflow-artifacts:/../..", "runs:/id/../..", "models:/m/1/../..", "models:/../1", "runs:/..",
        "mlflow-artifacts://host:9000/models/..%2f..%2fartifacts", "mlflow-artifacts:/a/%2e%2e/b",
        "mlflow-artifacts:/a/%252e%252e%252fb", "mlflow-artifacts:/a/..%5cb", "s3://b/..\\x", "s3://b/x%00",
        "s3://b/x\x00", "s3://b/./x", "s3://b/x\n", "s3://b/\u202ex", "http://host/%25%32%65%25%32%65/x",
    ],
)  # fmt: skip
def test_ways_out(text: str) -> None:
    """In every spelling (P3)."""
    with pytest.raises(Invalid, match="If supplying a source as an http, https,"):
        sources.read(text)


@pytest.mark.parametrize(
    "text",
    [
        "s3://b/x#y", "s3://b/x?a=1", "s3://b/x;a", "s3://b/x%3fa", "s3://b/x%23a", "models:/m/1?x", "s3:/b/x",
        "s3://", "http:///x", "https://user:password@host/x", "gopher://host/x", "javascript:alert(1)", "data:,x",
        "models:/", "models:", "runs:/", "runs://host/id", "models://host/m", "models:/a/b/c", "models:/a/",
        "https://[::1/x", "s3://b/" + "x" * 2000,
    ],
)  # fmt: skip
def test_two_readings(text: str) -> None:
    """Queries, fragments, parameters, credentials, hosts where none belong, unknown schemes."""
    with pytest.raises(Invalid, match="Invalid model version source") as caught:
        sources.read(text)
    assert "invalid-source" == caught.value.code
    assert "password" not in caught.value.message


@given(
    st.text(max_size=40), st.sampled_from(["", "s3://b/", "models:/", "runs:/", "mlflow-artifacts:", "https://h/"])
)
def test_every_text_is_read_or_refused(tail: str, head: str) -> None:
    """Never another error, and what is accepted is kept as it was written."""
    try:
        kept = sources.read(head + tail).text
    except Invalid:
        return
    assert head + tail == kept
