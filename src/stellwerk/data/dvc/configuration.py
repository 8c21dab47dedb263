"""`.dvc/config`: where the cache is, and which remotes there are. Secrets are not kept."""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping

from stellwerk.core.errors import Invalid
from stellwerk.data.dvc.model import Config, Remote

MAX_BYTES = 1 << 20
_SECRET = re.compile(r"pass|secret|token|key|credential|header|connection_string", re.IGNORECASE)
_SECTION = re.compile(r"""'?\s*remote\s+"(?P<name>[^"]+)"\s*'?""")


def config(data: bytes, where: str) -> Config:
    """Read a configuration file. Raises `Invalid` with file and line."""
    if len(data) > MAX_BYTES:
        raise Invalid(f"{where} is larger than {MAX_BYTES >> 20} MiB", code="invalid-dvc-file")
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), default_section="\0none")
    try:
        parser.read_string(data.decode("utf-8-sig"), source=where)
    except (configparser.Error, UnicodeDecodeError) as cause:
        raise Invalid(f"{where} cannot be read: {str(cause).splitlines()[0]}", code="invalid-dvc-file") from cause
    remotes: list[Remote] = []
    further: list[tuple[str, str]] = []
    known: dict[str, str] = {}
    for section in parser.sections():
        options = dict(parser.items(section))
        match = _SECTION.fullmatch(section)
        if match:
            remotes.append(_remote(match["name"], options))
            continue
        for option, value in options.items():
            name = f"{section}.{option}"
            if name in ("core.remote", "core.no_scm", "cache.dir", "cache.type"):
                known[name] = value
            elif not _SECRET.search(option):
                further.append((name, value))
    return Config(
        remotes=tuple(remotes),
        default_remote=known.get("core.remote", ""),
        cache=known.get("cache.dir", ""),
        link_types=tuple(part.strip() for part in known.get("cache.type", "").split(",") if part.strip()),
        no_scm=known.get("core.no_scm", "").lower() == "true",
        further=tuple(further),
    )


def merged(first: Config, then: Config) -> Config:
    """What holds when a second file, such as `config.local`, overrides the first, option by option."""
    remotes = {remote.name: remote for remote in first.remotes}
    for remote in then.remotes:
        old = remotes.get(remote.name)
        options = {**dict(old.options), **dict(remote.options)} if old else dict(remote.options)
        with_url = remote if remote.url or old is None else old
        remotes[remote.name] = Remote(
            name=remote.name, url=with_url.url, local=with_url.local, options=tuple(options.items())
        )
    return Config(
        remotes=tuple(remotes.values()),
        default_remote=then.default_remote or first.default_remote,
        cache=then.cache or first.cache,
        link_types=then.link_types or first.link_types,
        no_scm=then.no_scm or first.no_scm,
        further=tuple({**dict(first.further), **dict(then.further)}.items()),
    )


def _remote(name: str, options: Mapping[str, str]) -> Remote:
    url = options.get("url", "")
    kept = tuple(
        (option, value) for option, value in options.items() if option != "url" and not _SECRET.search(option)
    )
    return Remote(name=name, url=_without_password(url), local=bool(url) and "://" not in url, options=kept)


def _without_password(url: str) -> str:
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1@", url)
