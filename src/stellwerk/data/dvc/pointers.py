"""`.dvc` files and `dvc.lock`: which bytes belong to which path."""

from __future__ import annotations

from stellwerk.core.errors import Invalid
from stellwerk.data.dvc import yamltext
from stellwerk.data.dvc.fields import Fields, hexadecimal
from stellwerk.data.dvc.model import LEGACY, MD5, Lock, LockedStage, ManifestEntry, Output, Pointer

_OTHER = ("etag", "checksum", "version_id")
"""Names of bytes that only a cloud or HDFS can check."""


def pointer(data: bytes, where: str) -> Pointer:
    """Read a `.dvc` file. Raises `Invalid` with file and key."""
    fields = Fields(yamltext.read(data, where) or {}, where)
    frozen = fields.flag("frozen", False)
    locked = fields.flag("locked", False)  # what DVC before 1.0 called it
    return Pointer(
        outputs=_outputs(fields, "outs"),
        dependencies=_outputs(fields, "deps"),
        wdir=fields.text("wdir"),
        frozen=frozen or locked,
        always_changed=fields.flag("always_changed", False),
        desc=fields.text("desc"),
        meta=fields.raw("meta"),
        md5=fields.text("md5"),
        cmd=fields.texts("cmd"),
        further=fields.rest(),
    )


def lock(data: bytes, where: str) -> Lock:
    """Read a `dvc.lock` file, of schema 2.0 or of DVC 1, which had none. Raises `Invalid` with file and key."""
    value = yamltext.read(data, where) or {}
    fields = Fields(value, where)
    if "schema" not in fields and "stages" not in fields:
        stages = Fields(value, where)
        return Lock(schema="1.0", stages=tuple(_stage(stages, name) for name in stages))
    schema = fields.text("schema")
    if schema != "2.0":
        raise Invalid(f"{where}: schema {schema[:20]!r} is not known (expected '2.0')", code="invalid-dvc-file")
    stages = fields.below("stages")
    return Lock(
        schema=schema,
        stages=tuple(_stage(stages, name) for name in stages),
        datasets=fields.raw("datasets"),
        further=fields.rest(),
    )


def _stage(stages: Fields, name: str) -> LockedStage:
    fields = stages.below(name)
    return LockedStage(
        name=name,
        cmd=fields.texts("cmd"),
        dependencies=_outputs(fields, "deps"),
        params=fields.raw("params"),
        outputs=_outputs(fields, "outs"),
        further=fields.rest(),
    )


def _outputs(fields: Fields, name: str) -> tuple[Output, ...]:
    return tuple(
        _output(Fields(item, fields.where, f"{fields.path(name)}[{index}]"))
        for index, item in enumerate(fields.items(name))
    )


def _output(fields: Fields) -> Output:
    value, directory = hexadecimal(fields, "md5")
    algorithm = fields.text("hash") or (LEGACY if value else "")
    for other in _OTHER:
        given = fields.text(other)
        if given and not algorithm:
            algorithm, value = other, given
    manifest = _manifest(fields) if "files" in fields else None
    return Output(
        path=fields.text("path", needed=True),
        algorithm=algorithm,
        value=value,
        directory=directory or manifest is not None,
        size=fields.whole("size"),
        files=fields.whole("nfiles"),
        executable=fields.flag("isexec", False),
        cache=fields.flag("cache", True),
        persist=fields.flag("persist", False),
        push=fields.flag("push", True),
        remote=fields.text("remote"),
        desc=fields.text("desc"),
        type=fields.text("type"),
        labels=fields.texts("labels"),
        meta=fields.raw("meta"),
        manifest=manifest,
        cloud=fields.raw("cloud"),
        repo=fields.raw("repo"),
        further=fields.rest(),
    )


def _manifest(fields: Fields) -> tuple[ManifestEntry, ...]:
    return tuple(
        _entry(Fields(item, fields.where, f"{fields.path('files')}[{index}]"))
        for index, item in enumerate(fields.items("files"))
    )


def _entry(fields: Fields) -> ManifestEntry:
    value, directory = hexadecimal(fields, MD5)
    if directory:
        raise fields.wrong(MD5, "the hash of a file", value + ".dir")
    return ManifestEntry(
        path=fields.text("relpath", needed=True),
        value=value,
        size=fields.whole("size"),
        executable=fields.flag("isexec", False),
    )
