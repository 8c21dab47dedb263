"""Where a workspace keeps its bytes: in its folder, or in a bucket that is read through a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stellwerk.core.errors import Unavailable
from stellwerk.store.adapters.local import LocalFolder
from stellwerk.store.fsck import Catalogue, Holdings
from stellwerk.workspace import credentials
from stellwerk.workspace.layout import Layout
from stellwerk.workspace.settings import Settings

FSCK_RETRIES = 5
"""Attempts that the client makes by itself, because the independent reader makes none."""

if TYPE_CHECKING:
    from stellwerk.store.adapters.cached import CachedBlobs
    from stellwerk.store.adapters.s3 import S3Blobs

    Store = LocalFolder | CachedBlobs
    """Blobs that can be listed, healed, and read as files."""


def open_store(layout: Layout, settings: Settings) -> Store:
    """The store of a workspace. Nothing is sent before it is used."""
    if not layout.bucket:
        return LocalFolder(layout.blobs)
    far = open_bucket(layout.bucket, settings, owner=layout.identity)
    from stellwerk.store.adapters.cached import Cache, CachedBlobs

    return CachedBlobs(far, Cache(layout.cache / "blobs", limit=settings.cache_bytes))


def open_bucket(url: str, settings: Settings, *, owner: str = "") -> S3Blobs:
    """The store in a bucket. Raises `Unavailable` where S3 is not installed or nobody said who we are."""
    try:
        from stellwerk.store.adapters.s3 import open_blobs
    except ImportError as cause:
        raise Unavailable(
            "this installation cannot talk to S3", code="needs-extra", hint="pip install 'stellwerk[s3]'"
        ) from cause
    return open_blobs(url, credentials.access(settings), owner=owner)


def at_rest(store: Store) -> LocalFolder | S3Blobs:
    """The store itself: what is kept near must not hide damage that is far."""
    return store if isinstance(store, LocalFolder) else store.far


def open_catalogue(layout: Layout, settings: Settings) -> Holdings:
    """All that an independent reader finds in the store of a workspace. Reads every byte of it."""
    if not layout.bucket:
        return Catalogue(layout.blobs)
    from stellwerk.store.adapters.objects import Patience, open_s3, parse_location
    from stellwerk.store.adapters.s3_fsck import BucketCatalogue

    store = open_s3(parse_location(layout.bucket), credentials.access(settings), Patience(), retries=FSCK_RETRIES)
    return BucketCatalogue(store, layout.bucket)


def check_address(url: str) -> str:
    """An address of a bucket as it is kept in the description of a workspace. Raises `Invalid`."""
    from stellwerk.store.adapters.objects import parse_location

    return parse_location(url).url
