"""Artifacts as MLflow's client sends and asks for them: the tree under `mlflow-artifacts:/`, and that of each run.

Long files go in parts to addresses of ours, and come in ranges (mlflow/store/artifact/http_artifact_repo.py, 3.17).
Each part is a blob, and its ETag is its digest: completing an upload names what is to be joined.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from stellwerk.core.digest import parse
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.store import service as trees
from stellwerk.tracking import paths, rules
from stellwerk.tracking.manifest import Artifact
from stellwerk.web import streams
from stellwerk.web.bodies import read_json
from stellwerk.web.doors.mlflow import files, messages, wire
from stellwerk.web.doors.mlflow.calls import ANY_MEDIA, BYTES, MAX_BODY, ROOTS, Calls, Endpoint, Plain, plain_routes
from stellwerk.web.doors.mlflow.wire import INTEGER, SOME_TEXT, TEXT, Ask, Field, rows
from stellwerk.web.routing import Guard, GuardedRoute
from stellwerk.workspace.rooms import Rooms

PREFIX = "/2.0/mlflow-artifacts"
SCHEME = "mlflow-artifacts:/"
PAGE = 10_000
"""Files in one answer where the client may ask for the next page."""
MOST = 200_000
"""Files in one answer where it may not: a list that was cut would look whole."""
MAX_TYPED = 10 << 20
"""Bytes that MLflow's page may send as one file."""

UPLOAD = {"path": SOME_TEXT, "num_parts": INTEGER}

TREE = Calls(PREFIX)
OF_RUNS = Calls("/2.0/mlflow")


def routes(rooms: Rooms, guard: Guard) -> list[GuardedRoute]:
    """Those whose bodies or answers are files, or which say where files are."""
    desk = _Desk(rooms)
    of_run = {"path": SOME_TEXT, "run_id": TEXT, "run_uuid": TEXT}
    of_model, of_version = {"artifact_file_path": SOME_TEXT}, dict.fromkeys(("name", "version", "path"), SOME_TEXT)
    return plain_routes(
        (
            _file(f"{PREFIX}/artifacts/{{path:path}}", desk.get, {}),
            _file("/2.0/mlflow/logged-models/{model_id}/artifacts/files", desk.get_of_model, of_model),
            _file("/get-artifact", desk.get_of_run, of_run, roots=("",)),
            _file("/model-versions/get-artifact", desk.get_of_version, of_version, "models:read", ("",)),
            Plain(
                "PUT", f"{PREFIX}/artifacts/{{path:path}}", "runs:write", desk.put,
                takes=(ANY_MEDIA,), gives=messages.Nothing,
            ),
            Plain("PUT", f"{PREFIX}/mpu/parts/{{upload}}/{{number}}", "runs:write", desk.put_part, takes=(ANY_MEDIA,)),
            Plain(
                "POST", "/2.0/mlflow/upload-artifact", "runs:write", desk.put_of_run, roots=("/ajax-api",),
                query={"run_uuid": SOME_TEXT, "path": SOME_TEXT}, takes=(ANY_MEDIA,), gives=messages.Nothing,
            ),
            Plain(
                "POST", f"{PREFIX}/mpu/create/{{path:path}}", "runs:write", desk.begin,
                takes=UPLOAD, gives=messages.Upload,
            ),
            Plain("GET", f"{PREFIX}/presigned/{{path:path}}", "runs:read", desk.address, gives=messages.Address),
        ),
        guard,
    )  # fmt: skip


def _file(
    place: str,
    work: Endpoint,
    query: Mapping[str, Field],
    permission: str = "runs:read",
    roots: tuple[str, ...] = ROOTS,
) -> Plain:
    """A file that is fetched, or a range of it."""
    also = {206: "a range of it", 416: "there is no such range"}
    headers = {"Range": TEXT}
    return Plain("GET", place, permission, work, query=query, headers=headers, gives=BYTES, also=also, roots=roots)


@TREE.add("GET", "artifacts", "runs:read", path=TEXT)
def list_tree(rooms: Rooms, ask: Ask) -> messages.Files:
    """One level below a path; names only."""
    found = rooms.artifacts.list(read_listed(ask.text("path")), limit=MOST + 1)
    if len(found) > MOST:
        raise Invalid(f"this folder has more than {MOST:,} files", code="too-large", hint="list it over /api/v1")
    return {"files": [shown(one) for one in found]}


@TREE.add("DELETE", "artifacts/{path:path}", "runs:write")
def delete(rooms: Rooms, ask: Ask) -> None:
    """A file, or a folder with everything below."""
    rooms.artifacts.delete(read_folder(ask.path["path"]))


@TREE.add(
    "POST",
    "mpu/complete/{path:path}",
    "runs:write",
    path=SOME_TEXT,
    upload_id=SOME_TEXT,
    parts=rows(part_number=INTEGER, etag=TEXT, url=TEXT),
)
def complete(rooms: Rooms, ask: Ask) -> None:
    """Join what was sent."""
    parts = sorted(ask.rows("parts"), key=lambda part: part.integer("part_number"))
    if [part.integer("part_number") for part in parts] != list(range(1, len(parts) + 1)):
        raise Invalid("the parts are not numbered from 1 on, each once", code="invalid-parts")
    digests = [parse(part.text("etag").strip('"')) for part in parts]
    rooms.artifacts.complete(ask.text("upload_id"), _destination(ask, ask.path["path"]), digests)


@TREE.add("POST", "mpu/abort/{path:path}", "runs:write", path=SOME_TEXT, upload_id=SOME_TEXT)
def abort(rooms: Rooms, ask: Ask) -> None:
    """Forget an upload."""
    rooms.artifacts.abort(ask.text("upload_id"), _destination(ask, ask.path["path"]))


@OF_RUNS.add("GET", "artifacts/list", "runs:read", run_id=TEXT, run_uuid=TEXT, path=TEXT, page_token=TEXT)
def list_of_run(rooms: Rooms, ask: Ask) -> messages.RootedFiles:
    """One level of the artifacts of a run, with paths as the run sees them."""
    run = ask.text("run_id") or ask.text("run_uuid")
    if not run:
        raise wire.missing("run_id")
    inner = read_listed(ask.text("path"))
    return level(rooms, rules.artifacts_of(rooms.runs.get(run)), inner, ask.text("page_token"))


def level(rooms: Rooms, home: str, inner: str, token: str) -> messages.RootedFiles:
    """One level below the address of a run's or a model's files, in pages, with paths below it."""
    offset = wire.offset_of(token)
    found = rooms.artifacts.list(paths.join(root_of(home), inner), limit=PAGE + 1, offset=offset)
    some, more = wire.page(found, PAGE, offset)
    return {"root_uri": home, "files": [shown(one, inner) for one in some], **more}


def root_of(home: str) -> str:
    """The folder in the tree that an address means. Raises `Invalid` for one elsewhere: nothing here opens it."""
    if not home.startswith(SCHEME) or home.startswith(SCHEME + "/"):
        raise Invalid(
            f"these artifacts are not kept here but under {home[:200]!r}",
            code="foreign-artifacts",
            hint="the client asks that place by itself",
        )
    return read_folder(home.removeprefix(SCHEME))


def shown(artifact: Artifact, inner: str = "") -> messages.FileInfo:
    """A file or folder in a list."""
    entry: messages.FileInfo = {"path": paths.join(inner, artifact.name), "is_dir": artifact.digest is None}
    return entry if artifact.digest is None else {**entry, "file_size": artifact.size}


def read_path(text: str) -> str:
    """A path, refused in MLflow's words."""
    try:
        return paths.read(text)
    except Invalid as cause:
        raise Invalid("Invalid path", code="invalid-path") from cause


def read_folder(text: str) -> str:
    """A path that may be empty, or end with a separator."""
    return read_path(text.removesuffix("/")) if text not in ("", "/") else ""


def read_listed(text: str) -> str:
    """A folder to be listed. Whoever downloads `.` asks for `./model`: that part means nothing, and is left out."""
    return read_folder("/".join(part for part in text.split("/") if part != "."))


class _Desk:
    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    async def get(self, request: Request) -> Response:
        """A file of the tree."""
        return await self._give(request, read_path(request.path_params["path"]))

    async def get_of_run(self, request: Request) -> Response:
        """A file of a run, by the path that the run sees."""
        query = request.query_params
        path = read_path(query.get("path", ""))
        run = query.get("run_id") or query.get("run_uuid") or ""
        if not run:
            raise wire.missing("run_id")
        found = await run_in_threadpool(self._rooms.runs.get, run)
        return await self._give(request, paths.join(root_of(rules.artifacts_of(found)), path))

    async def get_of_model(self, request: Request) -> Response:
        """A file of a logged model."""
        wanted = request.query_params.get("artifact_file_path", "")
        if not wanted:
            raise Invalid('Request must include the "artifact_file_path" query parameter.', code="invalid-arguments")
        path = read_path(wanted)
        model = await run_in_threadpool(self._rooms.logged_models.get, request.path_params["model_id"])
        return await self._give(request, paths.join(root_of(model.home), path))

    async def get_of_version(self, request: Request) -> Response:
        """A file of a model version: of the bytes that were registered, whatever became of the artifact since."""
        query = request.query_params
        path = read_path(query.get("path", ""))

        def found() -> Artifact:
            number = query.get("version", "")
            if not number.isascii() or not number.isdecimal() or len(number) > 9:
                raise wire.invalid("version", number)
            version = self._rooms.catalogue.version(query.get("name", ""), int(number))
            digest = trees.find(self._rooms.blobs, version.bytes(), path)
            size = self._rooms.blobs.size(digest)
            folder, name = paths.split(path)
            return Artifact(folder=folder, name=name, digest=digest, size=size, logged_at=version.created_at)

        return await files.give(request, self._rooms, await run_in_threadpool(found))

    async def put(self, request: Request) -> Response:
        """A file of the tree; its bytes are in the store before anything names them."""
        path = read_path(request.path_params["path"])
        digest = await streams.keep(request, self._rooms.blobs)
        await run_in_threadpool(self._rooms.artifacts.log, path, digest)
        return _json({})

    async def put_of_run(self, request: Request) -> Response:
        """A small file that MLflow's page sends."""
        run, wanted = (request.query_params.get(name, "") for name in ("run_uuid", "path"))
        for name, value in (("run_uuid", run), ("path", wanted)):
            if not value:
                raise Invalid(f"Request must specify {name}.", code="invalid-arguments")
        path = read_path(wanted)
        data = bytearray()
        async for piece in request.stream():
            data += piece
            if len(data) > MAX_TYPED:
                raise Invalid("Artifact size is too large. Max size is 10MB.", code="too-large")
        if not data:
            raise Invalid("Request must specify data.", code="invalid-arguments")

        def work() -> None:
            whole = paths.join(root_of(rules.artifacts_of(self._rooms.runs.get(run))), path)
            self._rooms.artifacts.log(whole, self._rooms.blobs.put(bytes(data)))

        await run_in_threadpool(work)
        return _json({})

    async def begin(self, request: Request) -> Response:
        """Announce a long file: where each of its parts is to be sent."""
        ask = Ask(wire.read_body(await read_json(request, MAX_BODY), UPLOAD))
        path = _destination(ask, request.path_params["path"])
        upload = await run_in_threadpool(self._rooms.artifacts.begin, path, parts=ask.integer("num_parts", 1))
        base, headers = _base(request), _same_caller(request)
        credentials = [
            {"url": f"{base}/mpu/parts/{upload.id}/{number}", "part_number": number, "headers": headers}
            for number in range(1, upload.parts + 1)
        ]
        return _json({"upload_id": upload.id, "credentials": credentials})

    async def put_part(self, request: Request) -> Response:
        """One part. It is kept under its digest, and belongs to nothing yet."""
        number = request.path_params["number"]
        upload = await run_in_threadpool(self._rooms.artifacts.upload, request.path_params["upload"])
        if number not in map(str, range(1, upload.parts + 1)):
            raise Invalid(f"there is no part {number[:20]} of {upload.parts}", code="invalid-parts")
        digest = await streams.keep(request, self._rooms.blobs)
        return Response(headers={"ETag": f'"{digest}"'})

    async def address(self, request: Request) -> Response:
        """Where a file can be fetched in ranges, and how long it is."""
        path = read_path(request.path_params["path"])
        artifact = await run_in_threadpool(self._get, path)
        if artifact.digest is None:
            raise NotFound(f"no file {path[:80]!r}", code="unknown-artifact")
        url = f"{_base(request)}/artifacts/{quote(path)}"
        return _json({"url": url, "headers": _same_caller(request), "file_size": artifact.size})

    async def _give(self, request: Request, path: str) -> Response:
        return await files.give(request, self._rooms, await run_in_threadpool(self._get, path))

    def _get(self, path: str) -> Artifact:
        return self._rooms.artifacts.get(path)


def _destination(ask: Ask, folder: str) -> str:
    """Where a file in parts will be: the client sends its folder, and the path that the file has on its own disk."""
    return read_path(paths.join(folder.strip("/"), re.split(r"[/\\]", ask.text("path"))[-1]))


def _base(request: Request) -> str:
    """The address of the tree as the client reached it. The wall let only known hosts through."""
    root = next(root for root in reversed(ROOTS) if request.url.path.find(f"{root}{PREFIX}/") >= 0)
    host, above = request.headers["host"], request.scope.get("root_path", "")
    return f"{request.url.scheme}://{host}{above}{root}{PREFIX}"


def _same_caller(request: Request) -> dict[str, str]:
    """What the client has to send to an address of ours, to which it sends nothing by itself: who it is."""
    said = request.headers.get("authorization")
    return {} if said is None else {"Authorization": said}


def _json(value: dict[str, Any]) -> Response:
    return Response(wire.write(value), media_type="application/json")
