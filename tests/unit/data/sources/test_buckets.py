"""Objects of S3 buckets as sources, against a real S3 service on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from stellwerk.core.errors import Invalid, NotFound, Refused, Unavailable
from stellwerk.data.sources import rules, service
from stellwerk.testing.sources import OTHERS, ROWS, SourceContract

pytest.importorskip("obstore", reason="the extra `s3` is not installed")
boto3 = pytest.importorskip("boto3", reason="moto is not installed")
pytest.importorskip("moto", reason="moto is not installed")

from stellwerk.data.adapters.buckets import BucketReader, _matches  # noqa: E402
from stellwerk.store.adapters.objects import Location, open_s3  # noqa: E402
from stellwerk.testing.buckets import KEY, QUICK, SECRET, access, bucket_server  # noqa: E402

NUMBERS = count(1)


@pytest.fixture(scope="module")
def service_url() -> Iterator[str]:
    with bucket_server() as url:
        yield url


class Bucket:
    """Two objects of a bucket of its own."""

    def __init__(self, url: str, *, versions: bool) -> None:
        self.client = boto3.client(
            "s3", endpoint_url=url, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1"
        )
        self.name = f"rows-{next(NUMBERS)}"
        self.client.create_bucket(Bucket=self.name)
        if versions:
            self.client.put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": "Enabled"})
        self.source = f"s3://{self.name}/rows/"

    def put(self, key: str, data: bytes) -> Any:
        return self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def fill(self, rows: pl.DataFrame) -> None:
        for key, part in (("rows/a.jsonl", rows.head(2)), ("rows/deep/b.jsonl", rows.tail(2))):
            self.put(key, part.write_ndjson().encode())

    def remove(self) -> None:
        for found in self.client.list_object_versions(Bucket=self.name).get("Versions", []):
            self.client.delete_object(Bucket=self.name, Key=found["Key"], VersionId=found["VersionId"])


def opened(url: str) -> Any:
    return lambda bucket: open_s3(Location(bucket=bucket, prefix=""), access(url), QUICK)


@pytest.fixture
def reader(service_url: str) -> BucketReader:
    return BucketReader(opened(service_url))


class TestBucketWithVersions(SourceContract):
    @pytest.fixture
    def place(self, service_url: str) -> Iterator[Bucket]:
        bucket = Bucket(service_url, versions=True)
        yield bucket
        bucket.client.close()


class TestBucketWithoutVersions(SourceContract):
    @pytest.fixture
    def place(self, service_url: str) -> Iterator[Bucket]:
        bucket = Bucket(service_url, versions=False)
        bucket.source = f"s3://{bucket.name}/rows/**.jsonl"
        yield bucket
        bucket.client.close()


@pytest.fixture
def bucket(service_url: str) -> Iterator[Bucket]:
    made = Bucket(service_url, versions=True)
    yield made
    made.client.close()


def pin(source: str, reader: BucketReader) -> tuple[service.Pinned, pl.DataFrame]:
    return service.pin(rules.parse(source), lambda _: reader)


def test_the_versions_that_were_pinned_are_read(bucket: Bucket, reader: BucketReader) -> None:
    """After the objects were overwritten, and also after they were deleted: the old rows come."""
    bucket.fill(ROWS)
    before, _ = pin(bucket.source, reader)
    bucket.fill(OTHERS)
    assert_frame_equal(ROWS, service.frame(before, lambda _: reader))
    for key in ("rows/a.jsonl", "rows/deep/b.jsonl"):
        bucket.client.delete_object(Bucket=bucket.name, Key=key)

    assert_frame_equal(ROWS, service.frame(before, lambda _: reader))
    assert service.verify(before, lambda _: reader).ok
    with pytest.raises(NotFound):
        pin(bucket.source, reader)


def test_a_version_can_be_named(bucket: Bucket, reader: BucketReader) -> None:
    """`?versionId=` is that version, whatever came later; another id is not there."""
    first = bucket.put("one.csv", b"x\n1\n")["VersionId"]
    bucket.put("one.csv", b"x\n2\n")

    assert [1] == pin(f"s3://{bucket.name}/one.csv?versionId={first}", reader)[1]["x"].to_list()
    assert [2] == pin(f"s3://{bucket.name}/one.csv", reader)[1]["x"].to_list()
    assert first == pin(f"s3://{bucket.name}/one.csv?versionId={first}", reader)[0].parts[0].version
    with pytest.raises((NotFound, Unavailable)):
        pin(f"s3://{bucket.name}/one.csv?versionId=11111111-2222-3333-4444-555555555555", reader)


def test_patterns_and_prefixes(bucket: Bucket, reader: BucketReader) -> None:
    """`*` stays within a folder, `**` does not; hidden objects and other endings are no rows."""
    for key in ("m/a.csv", "m/b.csv", "m/deep/c.csv", "m/_log/d.csv", "m/.e.csv", "m/read.me", "mm/f.csv"):
        bucket.put(key, b"x\n1\n")

    def parts(pattern: str) -> list[str]:
        return [part.name for part in pin(f"s3://{bucket.name}/{pattern}", reader)[0].parts]

    assert ["m/a.csv", "m/b.csv", "m/deep/c.csv"] == parts("m/")
    assert ["m/.e.csv", "m/a.csv", "m/b.csv"] == parts("m/*.csv")
    assert ["m/a.csv", "mm/f.csv"] == parts("m*/[af].csv".replace("[af]", "*"))[1:2] + parts("mm/*")
    assert ["m/deep/c.csv"] == parts("m/**/c.csv")


@given(key=st.text("ab/", max_size=8), pattern=st.text("ab/*", min_size=1, max_size=6))
def test_a_pattern_means_what_its_expression_means(key: str, pattern: str) -> None:
    """The steps find what a regular expression with the same meaning finds."""
    pieces = re.split(r"(\*\*|\*)", pattern)
    words = {"**": ".*", "*": "[^/]*"}
    expected = re.fullmatch("".join(words.get(piece, re.escape(piece)) for piece in pieces), key) is not None

    assert expected == (_matches([piece for piece in pieces if piece], key))


def test_a_hostile_pattern_costs_little() -> None:
    """Where an expression would try for years, steps are counted in thousands."""
    pieces = [piece for _ in range(150) for piece in ("**", "a", "*", "a")]

    assert not _matches(pieces, "a" * 1000 + "b")


@pytest.mark.parametrize("name", ["s3:x", "s3://b", "s3://UPPER/x", "s3://bucket/", "s3://bucket/../x", "s3://b_/x",
                                  "s3://bucket/x?y=1", "s3://169.254.169.254@x/y"])  # fmt: skip
def test_what_names_no_object_is_refused(reader: BucketReader, name: str) -> None:
    """Before anything is asked."""
    with pytest.raises(Invalid):
        pin(name, reader)


def test_buckets_that_the_operator_did_not_name(bucket: Bucket, service_url: str) -> None:
    """For callers from elsewhere: a bucket or a prefix of it, and nothing that only begins alike."""
    for key in ("open/a.csv", "opening/a.csv"):
        bucket.put(key, b"x\n1\n")
    held = BucketReader(opened(service_url), [f"{bucket.name}/open"])

    assert 1 == pin(f"s3://{bucket.name}/open/a.csv", held)[0].rows
    for source in (f"s3://{bucket.name}/opening/a.csv", "s3://other/open/a.csv", f"s3://{bucket.name}/*/a.csv"):
        with pytest.raises(Refused) as caught:
            pin(source, held)
        assert "foreign-bucket" == caught.value.code


def test_a_service_that_does_not_answer(service_url: str) -> None:
    """Is unavailable, and the error holds no secret."""
    del service_url
    patience = type(QUICK)(connect=0.2, request=0.2, total=0.2, retries=0, pause=timedelta(0).total_seconds())
    dead = BucketReader(
        lambda bucket: open_s3(Location(bucket=bucket, prefix=""), access("http://127.0.0.1:1"), patience)
    )

    with pytest.raises(Unavailable) as caught:
        pin("s3://bucket/x.csv", dead)
    assert SECRET not in str(caught.value) + caught.value.hint
