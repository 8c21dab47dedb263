"""No route without a permission, no permission without a guard, and every error is one kind of answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from stellwerk.core import errors as tree
from stellwerk.core.errors import Bug, Refused, StellwerkError
from stellwerk.web import errors
from stellwerk.web.routing import arranged, matrix, route


async def nobody(request: Request, permission: str) -> None:
    raise Refused(f"nobody has {permission!r}", code="unauthenticated")


async def everybody(request: Request, permission: str) -> None:
    return None


async def hello(request: Request) -> Response:
    return Response("hello")


def raising(error: BaseException) -> Any:
    async def endpoint(request: Request) -> Response:
        raise error

    return endpoint


@pytest.mark.parametrize("permission", ["", "everything", "None", "predict "])
def test_a_route_without_a_real_permission_cannot_be_made(permission: str) -> None:
    """A typing error must not open a door."""
    with pytest.raises(Bug):
        route("/x", hello, ["GET"], permission=permission, guard=everybody)


def test_a_permission_without_a_guard_cannot_be_made() -> None:
    """What is declared is also checked."""
    with pytest.raises(Bug):
        route("/x", hello, ["GET"], permission="predict")


def test_the_guard_is_asked_before_the_endpoint() -> None:
    """Whoever is refused learns nothing else."""
    app = Starlette(routes=[route("/x", raising(RuntimeError()), ["GET"], permission="predict", guard=nobody)])

    answer = TestClient(app).get("/x")

    assert (401, "unauthenticated", "Bearer") == (
        answer.status_code, answer.json()["code"], answer.headers["www-authenticate"],
    )  # fmt: skip


def test_the_matrix_lists_every_route_and_refuses_bare_ones() -> None:
    """Start-up fails when something was registered past the helper, also inside mounts."""
    guarded = route("/x", hello, ["POST"], permission="predict", guard=everybody)
    health = route("/h", hello, ["GET"], permission="none")

    assert [("/x", ("POST",), "predict"), ("/m/h", ("GET", "HEAD"), "none")] == matrix(
        [guarded, Mount("/m", routes=[health])]
    )
    for bare in (Route("/y", hello), Mount("/m", routes=[Route("/y", hello)]), Mount("/m", app=Starlette())):
        with pytest.raises(Bug):
            matrix([guarded, bare])


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (tree.Invalid("x"), 422), (tree.Invalid("x", code="invalid-json"), 400),
        (tree.Invalid("x", code="too-large"), 413),
        (tree.Invalid("x", code="unsupported-media-type"), 415), (tree.NotFound("x"), 404), (tree.Conflict("x"), 409),
        (tree.Refused("x"), 403), (tree.Refused("x", code="unauthenticated"), 401), (tree.Unavailable("x"), 503),
        (tree.Unavailable("x", code="disk-full"), 507), (tree.Corrupt("x"), 500), (tree.Bug("x"), 500),
        (StellwerkError("x"), 500), (RuntimeError("x"), 500), (KeyError("x"), 500),
    ],
)  # fmt: skip
def test_every_class_of_error_has_its_status(error: Exception, status: int) -> None:
    """One function for all applications."""
    assert status == errors.status_of(error)
    assert status == errors.respond(error).status_code


def test_every_error_class_is_mapped() -> None:
    """A new branch of the tree needs a status."""
    mapped = {kind for kind, _ in errors.BY_CLASS}

    assert set(StellwerkError.__subclasses__()) == mapped


def test_a_refusal_is_never_something_that_clients_retry() -> None:
    """Only what may pass by itself says when to come back."""
    for code in (None, "signal-stop", "permission-denied"):
        answer = errors.respond(Refused("no", code=code))
        assert answer.status_code not in (408, 429, 500, 502, 503, 504)
        assert "retry-after" not in answer.headers
    assert "5" == errors.respond(tree.Unavailable("later")).headers["retry-after"]


@pytest.mark.parametrize(
    "error", [RuntimeError("secret /srv/data/key"), KeyError("secret"), OSError(5, "secret", "/srv")]
)
def test_strange_errors_tell_nothing(error: Exception) -> None:
    """No trace, no path, no message of a stranger's exception."""
    app = Starlette(
        routes=[route("/x", raising(error), ["GET"], permission="none"), Route("/y", raising(error))],
        exception_handlers=errors.HANDLERS,  # type: ignore[arg-type]
    )
    client = TestClient(app, raise_server_exceptions=False)

    for path in ("/x", "/y"):
        answer = client.get(path)
        assert (500, "bug") == (answer.status_code, answer.json()["code"])
        assert "secret" not in answer.text
        assert "/srv" not in answer.text
        assert "Traceback" not in answer.text


def test_unknown_paths_and_methods_are_answered_in_the_same_form() -> None:
    """The framework's own errors too."""
    app = Starlette(
        routes=[route("/x", hello, ["GET"], permission="none")],
        exception_handlers=errors.HANDLERS,  # type: ignore[arg-type]
    )
    client = TestClient(app)

    missing, wrong = client.get("/nothing"), client.delete("/x")

    assert (404, "not-found") == (missing.status_code, missing.json()["code"])
    assert (405, "method-not-allowed") == (wrong.status_code, wrong.json()["code"])
    assert {"error", "code", "hint"} <= set(json.loads(wrong.text))


def test_routes_are_found_the_same_however_they_are_arranged() -> None:
    """A fixed path beats a pattern; another method of a known path is 405, or goes to whoever takes all methods."""

    def saying(word: str) -> Any:
        async def endpoint(request: Request) -> Response:
            return Response(word)

        return endpoint

    pattern = route("/x/{name}", saying("pattern"), ["GET", "PUT"], permission="none")
    first, second = (route("/x/y", saying(m), [m], permission="none") for m in ("GET", "POST"))
    alone = route("/alone", saying("alone"), ["GET"], permission="none")
    client = TestClient(Starlette(routes=arranged([pattern, first, second, alone])))

    assert "GET" == client.get("/x/y").text
    assert "POST" == client.post("/x/y").text
    assert "pattern" == client.put("/x/y").text
    assert "pattern" == client.get("/x/z").text
    assert "alone" == client.get("/alone/").text
    assert 405 == client.post("/alone").status_code
    assert 404 == client.get("/nowhere").status_code


def test_routes_are_found_below_a_prefix() -> None:
    """Where a proxy serves everything under a path of its own."""
    routes = [route(path, hello, ["GET"], permission="none") for path in ("/x", "/of/{name}")]
    client = TestClient(Starlette(routes=arranged(routes)), root_path="/here")

    assert [200, 200] == [client.get(f"/here{path}").status_code for path in ("/x", "/of/a")]


def test_arranging_checks_permissions() -> None:
    """What is arranged is guarded like everything else, and still listed with its permission."""
    guarded = route("/x", hello, ["POST"], permission="predict", guard=everybody)

    assert [("/x", ("POST",), "predict")] == matrix(arranged([guarded]))
    with pytest.raises(Bug):
        arranged([Route("/bare", hello)])  # type: ignore[list-item]


def test_a_path_holds_line_breaks_and_ends_where_it_ends() -> None:
    """What a name may hold can be asked for, and a break at the end makes another path of one without a part."""

    async def echo(request: Request) -> Response:
        return Response(request.path_params["rest"])

    app = Starlette(
        routes=[
            route("/x/{rest:path}", echo, ["GET"], permission="none"),
            route("/y", hello, ["GET"], permission="none"),
        ],
        exception_handlers=errors.HANDLERS,  # type: ignore[arg-type]
    )
    client = TestClient(app)

    assert "a\n/b\n" == client.get("/x/a%0A/b%0A").text
    assert 200 == client.get("/y").status_code
    assert 404 == client.get("/y%0A").status_code
