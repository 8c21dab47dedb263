"""Who we are to a bucket, and what other places are called: settings, credentials, remotes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stellwerk.core.errors import Conflict, Corrupt, Invalid, NotFound, StellwerkError, Unavailable
from stellwerk.workspace import credentials, places
from stellwerk.workspace.layout import Layout
from stellwerk.workspace.settings import Settings, read

AWS = {"AWS_ACCESS_KEY_ID": "AKIAAWS", "AWS_SECRET_ACCESS_KEY": "aws-secret", "AWS_SESSION_TOKEN": "aws-token"}
OWN = {"STELLWERK_S3_ACCESS_KEY_ID": "AKIAOWN", "STELLWERK_S3_SECRET_ACCESS_KEY": "own-secret"}
PROFILES = """
[default]
aws_access_key_id = AKIADEFAULT
aws_secret_access_key = default-secret

[work]
aws_access_key_id = AKIAWORK
aws_secret_access_key = work-%%secret
aws_session_token = work-token
region = eu-central-1
"""


@pytest.fixture
def profiles(tmp_path: Path) -> str:
    (tmp_path / "credentials").write_text(PROFILES)
    return str(tmp_path / "credentials")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(root=tmp_path, workspace="default", identity="stellwerk/1", clock="system")
    made.folder.mkdir()
    return made


class TestCredentials:
    """Ours first, then those of AWS, then a profile; never a mixture, and never none."""

    def test_a_token_belongs_to_its_key(self) -> None:
        """Our key is not sent with the token of another."""
        own, aws = (dict(credentials.access(read(given)).options) for given in ({**AWS, **OWN}, AWS))

        assert {"access_key_id": "AKIAOWN", "secret_access_key": "own-secret"} == own
        assert {"access_key_id": "AKIAAWS", "secret_access_key": "aws-secret", "session_token": "aws-token"} == aws

    def test_profiles_are_read(self, profiles: str) -> None:
        """The one that is named, with its region, or the default one; keys in the environment come first."""
        place = {"AWS_SHARED_CREDENTIALS_FILE": profiles}
        work = credentials.access(read({**place, "AWS_PROFILE": "work"}))

        assert ("eu-central-1", "work-%%secret") == (work.region, work.options["secret_access_key"])
        assert "AKIADEFAULT" == credentials.access(read(place)).options["access_key_id"]
        assert "AKIAAWS" == credentials.access(read({**place, **AWS})).options["access_key_id"]

    @pytest.mark.parametrize(
        "given",
        [
            {},
            {"AWS_ACCESS_KEY_ID": "AKIAX"},
            {"AWS_SECRET_ACCESS_KEY": "x"},
            {"AWS_PROFILE": "nobody"},
        ],
    )
    def test_none_are_looked_for_elsewhere(self, given: dict[str, str], profiles: str, tmp_path: Path) -> None:
        """Half a key is none, and the network is not asked."""
        file = profiles if "AWS_PROFILE" in given else str(tmp_path / "missing")
        with pytest.raises(Unavailable) as caught:
            credentials.access(read({**given, "AWS_SHARED_CREDENTIALS_FILE": file}))

        assert "no-credentials" == caught.value.code

    def test_a_role_is_taken_where_the_machine_has_one(self, tmp_path: Path) -> None:
        """Or where it is said; anonymous is said only."""
        nowhere = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "missing")}
        assert {} == credentials.access(read({**nowhere, "AWS_WEB_IDENTITY_TOKEN_FILE": "/x"})).options
        assert {} == credentials.access(read({**nowhere, "STELLWERK_S3_CREDENTIALS": "role"})).options
        anonymous = credentials.access(read({**nowhere, "STELLWERK_S3_CREDENTIALS": "anonymous"}))
        assert {"skip_signature": "true"} == anonymous.options

    @pytest.mark.parametrize(
        "given",
        [
            {"STELLWERK_S3_CREDENTIALS": "everybody"},
            {**AWS, "AWS_ENDPOINT_URL": "ftp://x"},
            {**AWS, "STELLWERK_CACHE_BYTES": "many"},
        ],
    )
    def test_what_cannot_be_meant_is_refused(self, given: dict[str, str]) -> None:
        """Before anything is sent."""
        with pytest.raises(Invalid):
            credentials.access(read(given))

    def test_nothing_shows_a_secret(self, profiles: str) -> None:
        """Neither the settings nor what is made of them."""
        for given in ({**AWS, **OWN}, AWS, {"AWS_PROFILE": "work", "AWS_SHARED_CREDENTIALS_FILE": profiles}):
            settings = read(given)
            for text in (repr(settings), repr(credentials.access(settings))):
                assert not [word for word in ("secret", "token") if f"-{word}" in text]

    def test_an_unreadable_file_of_profiles_is_said(self, tmp_path: Path) -> None:
        """It is no absence of credentials."""
        (tmp_path / "broken").write_text("not an ini file")
        with pytest.raises(Invalid) as caught:
            credentials.access(Settings(s3_profiles=str(tmp_path / "broken")))
        assert "invalid-setting" == caught.value.code


class TestRemotes:
    """Names for addresses, without secrets."""

    def test_names_are_kept(self, layout: Layout) -> None:
        """Added twice it is the same; another address under the name is a conflict; removed it is gone."""
        places.add_remote(layout, "origin", "s3://bucket/a")
        places.add_remote(layout, "origin", "s3://bucket/a")
        with pytest.raises(Conflict):
            places.add_remote(layout, "origin", "s3://bucket/b")
        both = places.add_remote(layout, "spare", "/mnt/spare")

        assert {"origin": "s3://bucket/a", "spare": "/mnt/spare"} == both == places.read_remotes(layout)
        assert {"spare": "/mnt/spare"} == places.remove_remote(layout, "origin")
        with pytest.raises(NotFound):
            places.remove_remote(layout, "origin")

    def test_the_one_that_is_meant(self) -> None:
        """The only one, or `origin`, or nobody knows."""
        assert "spare" == places.default_remote({"spare": "x"})
        assert "origin" == places.default_remote({"spare": "x", "origin": "y"})
        for known in ({}, {"a": "x", "b": "y"}):
            with pytest.raises(NotFound):
                places.default_remote(known)

    @pytest.mark.parametrize(
        "address",
        [
            "",
            "s3://key:secret@bucket/x",
            "https://anna@host",
            "https://host/?token=secret",
            "https://host/#x",
            "a b",
            "x\n",
        ],
    )
    def test_secrets_and_nonsense_are_not_kept(self, layout: Layout, address: str) -> None:
        """Nor shown in the refusal."""
        with pytest.raises(Invalid) as caught:
            places.add_remote(layout, "x", address)

        assert "secret" not in caught.value.message
        assert {} == places.read_remotes(layout)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            '{"format": "stellwerk-remotes/2", "remotes": {}}',
            '{"format": "stellwerk-remotes/1", "remotes": []}',
            '{"format": "stellwerk-remotes/1", "remotes": {"x": 7}}',
            json.dumps({"format": "stellwerk-remotes/1", "remotes": {"x": "s3://key:secret@bucket/y"}}),
        ],
    )
    def test_a_file_that_somebody_wrote_is_judged(self, layout: Layout, text: str) -> None:
        """Whatever it says, an error of ours."""
        (layout.folder / places.FILE).write_text(text)
        with pytest.raises(StellwerkError) as caught:
            places.read_remotes(layout)

        assert isinstance(caught.value, Corrupt | Unavailable | Invalid)
        assert "secret" not in str(caught.value)
