"""Long streams into a bucket: flat memory, and after kill -9 only what had not arrived is sent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from stellwerk.core.digest import of_chunks
from stellwerk.store.adapters.s3.bucket import AHEAD
from stellwerk.testing import buckets
from stellwerk.testing.faulty_http import Proxy, faulty

pytestmark = [pytest.mark.faults, pytest.mark.slow]

WRITER = Path(__file__).with_name("s3_writer.py")
MEGABYTES = int(os.environ.get("STELLWERK_TEST_LARGE_MB", "300"))
ROOM = 160 << 20
"""Chunks under way, both ways, and what the client and the memory of the process keep of them."""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with buckets.bucket_server() as url:
        yield url


def write(
    endpoint: str, prefix: str, megabytes: int, back: bool = False, environment: Mapping[str, str] | None = None
) -> tuple[int, Any]:
    done = subprocess.run(
        [sys.executable, WRITER, endpoint, prefix, str(megabytes), "back" if back else "no"],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, json.loads(done.stdout) if done.returncode == 0 else done.stderr


def chunks(proxy: Proxy) -> list[str]:
    """Names of the chunks that were written, in the order of writing."""
    written = [request.path for request in proxy.seen if request.method == "PUT" and "/chunks/" in request.path]
    return [path.partition("?")[0].rpartition("/")[2] for path in written]


def test_memory_stays_flat(endpoint: str) -> None:
    """However long a stream is, it comes and goes in bounded memory, and is the same afterwards."""
    small, large = (write(endpoint, f"flat-{size}", size, back=True) for size in (40, MEGABYTES))

    assert (0, 0) == (small[0], large[0])
    assert MEGABYTES << 20 == large[1]["size"]
    assert large[1]["digest"] == large[1]["read"]
    assert ROOM > large[1]["grown"]


@pytest.mark.parametrize("nth", [1, 5, 9])
def test_a_killed_upload_goes_on(endpoint: str, nth: int) -> None:
    """Killed at a chunk, the next process sends the rest, and nothing twice; until then there is no blob."""
    prefix, size = f"killed-{nth}", 80
    code, _ = write(endpoint, prefix, size, environment={"STELLWERK_FAIL": f"s3.chunk:kill:{nth}"})
    store = buckets.blobs(endpoint, prefix)
    arrived = buckets.objects(store).list("chunks")
    with faulty(endpoint) as (url, proxy):
        again, said = write(url, prefix, size)
        sent = chunks(proxy)

    assert -signal.SIGKILL == code
    assert 0 == again
    # What was on its way when its sender was killed may have come after it was counted, and is then not sent again.
    kept = [name for name, _ in buckets.objects(store).list("chunks")]
    assert 10 == len(kept)
    assert set(sent) <= {name.rpartition("/")[2] for name in kept}
    assert 10 - len(arrived) - AHEAD <= len(sent) <= 10 - len(arrived)
    assert len(set(sent)) == len(sent), "a chunk was sent twice"
    assert not set(sent) & {name.rpartition("/")[2] for name, _ in arrived}, "what had arrived was sent again"
    assert said["digest"] == of_chunks(store.stream(said["digest"]))
    assert said["digest"] in list(store)
    store.close()


def test_killed_before_its_list_there_is_no_blob(endpoint: str) -> None:
    """All chunks arrived, none is sent again, and only then the blob is there."""
    code, _ = write(endpoint, "unlisted", 40, environment={"STELLWERK_FAIL": "s3.list:kill:1"})
    store = buckets.blobs(endpoint, "unlisted")
    before = list(store)
    with faulty(endpoint) as (url, proxy):
        again, said = write(url, "unlisted", 40)
        sent = len(chunks(proxy))

    assert (-signal.SIGKILL, 0, 0) == (code, again, sent)
    assert said["digest"] not in before
    assert said["digest"] in list(store)
    store.close()
