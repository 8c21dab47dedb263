"""One contract over a workspace in a folder and over the same workspace at the other end of a URL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import stellwerk as sw
from stellwerk.testing import buckets, worlds
from stellwerk.testing.postgres import Server
from stellwerk.testing.workspaces import WorkspaceContract
from stellwerk.workspace.facade import Workspace
from stellwerk.workspace.local import LocalCaller


class TestInAFolder(WorkspaceContract):
    """The facade calls the rooms in this process."""

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("folder")

    @pytest.fixture(scope="class")
    @classmethod
    def workspace(cls, place: Path) -> Iterator[Workspace]:
        with worlds.workspace(place) as made:
            yield made

    @pytest.fixture(scope="class")
    @classmethod
    def ask(cls, workspace: Workspace) -> worlds.Ask:
        caller = workspace._caller
        assert isinstance(caller, LocalCaller)
        return worlds.in_process(caller.rooms)


class TestOnPostgreSQL(WorkspaceContract):
    """The same life with the book on a PostgreSQL server; it ends verified by the independent reader."""

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("postgresql")

    @pytest.fixture(scope="class")
    @classmethod
    def workspace(cls, place: Path, postgres: Server) -> Iterator[Workspace]:
        address = postgres.new_database()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STELLWERK_DATABASE_URL", address)
            with worlds.workspace(place, database_url=address) as made:
                yield made
                report = made.verify()
                assert () == report.findings
                assert report.entries > 50
                assert "postgresql" == json.loads((place / ".stellwerk" / "format.json").read_text())["database"]
                assert not list((place / ".stellwerk").glob("ledger.db*"))

    @pytest.fixture(scope="class")
    @classmethod
    def ask(cls, workspace: Workspace) -> worlds.Ask:
        caller = workspace._caller
        assert isinstance(caller, LocalCaller)
        return worlds.in_process(caller.rooms)


class TestInABucket(WorkspaceContract):
    """The same life with the bytes in a bucket, read through a cache; it ends verified by the independent reader."""

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("bucket")

    @pytest.fixture(scope="class")
    @classmethod
    def workspace(cls, place: Path) -> Iterator[Workspace]:
        with buckets.bucket_server() as endpoint, pytest.MonkeyPatch.context() as patch:
            patch.setenv("STELLWERK_S3_ENDPOINT", endpoint)
            patch.setenv("STELLWERK_S3_ACCESS_KEY_ID", buckets.KEY)
            patch.setenv("STELLWERK_S3_SECRET_ACCESS_KEY", buckets.SECRET)
            address = f"s3://{buckets.BUCKET}/flights"
            with worlds.workspace(place, bucket=address) as made:
                yield made
                assert ((), ()) == (made.verify().findings, made.fsck())
                assert address == json.loads((place / ".stellwerk" / "format.json").read_text())["blobs"]
                assert not (place / ".stellwerk" / "blobs").exists()

    @pytest.fixture(scope="class")
    @classmethod
    def ask(cls, workspace: Workspace) -> worlds.Ask:
        caller = workspace._caller
        assert isinstance(caller, LocalCaller)
        return worlds.in_process(caller.rooms)


class TestAtAUrl(WorkspaceContract):
    """The facade calls a real server process."""

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("url")

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, place: Path) -> Iterator[str]:
        worlds.workspace(place).close()
        with worlds.server(place) as url:
            yield url

    @pytest.fixture(scope="class")
    @classmethod
    def workspace(cls, url: str) -> Iterator[Workspace]:
        with sw.connect(url) as made:
            yield made

    @pytest.fixture(scope="class")
    @classmethod
    def ask(cls, url: str) -> worlds.Ask:
        return worlds.Client(url).ask
