"""Bytes by digest: blobs, trees of blobs, and the check that they are what their names say."""
