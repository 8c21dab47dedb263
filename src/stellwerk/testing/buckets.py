"""A real S3 service on this machine for tests: moto in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import boto3
import urllib3
from urllib3.exceptions import HTTPError

from stellwerk.store.adapters.objects import Access, Objects, Patience
from stellwerk.store.adapters.s3 import S3Blobs, open_blobs

BUCKET = "stellwerk-tests"
KEY, SECRET, TOKEN = "AKIATESTTESTTESTTEST", "a-secret-that-must-never-be-shown", "nor-must-this-token"
QUICK = Patience(connect=2.0, request=20.0, total=20.0, retries=4, pause=0.01)
"""For tests: as many attempts as in earnest, less waiting between them."""


@contextmanager
def bucket_server() -> Iterator[str]:
    """A service with an empty bucket; its address."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        _await(url, process)
        client = boto3.client(
            "s3", endpoint_url=url, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1"
        )
        client.create_bucket(Bucket=BUCKET)
        client.close()
        yield url
    finally:
        process.terminate()
        process.wait(20)


def access(endpoint: str) -> Access:
    """Credentials that the service takes."""
    options = {"access_key_id": KEY, "secret_access_key": SECRET, "session_token": TOKEN}
    return Access(endpoint=endpoint, options=options)


def blobs(endpoint: str, prefix: str, patience: Patience = QUICK) -> S3Blobs:
    """The store under a prefix of the test bucket."""
    return open_blobs(f"s3://{BUCKET}/{prefix}", access(endpoint), patience)


def objects(store: S3Blobs) -> Objects:
    """What lies below a store, for tests that damage it."""
    return store._objects


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    with urllib3.PoolManager(retries=False, timeout=1.0) as pool:
        for _ in range(600):
            if process.poll() is not None:
                raise RuntimeError("moto did not start")
            try:
                pool.request("GET", url + "/moto-api/")
            except HTTPError:
                time.sleep(0.05)  # a server that starts tells nobody when it listens
            else:
                return
    raise RuntimeError("moto does not answer")
