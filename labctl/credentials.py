"""Tokens of labs in a file of the user's, one for each daemon; `labctl login` writes it. Standard library only."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

_PORTS = {"http": 80, "https": 443}


class CredentialsError(Exception):
    """The file cannot be used as it is."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a daemon is asked with: the token, and the certificate authority's file where TLS needs one of its own."""

    token: str | None = None
    ca: str | None = None

    def __repr__(self) -> str:
        return f"Credentials(token={'...' if self.token else None}, ca={self.ca!r})"


def credentials_file() -> Path:
    """Where they are kept: LABCTL_CREDENTIALS, or labctl/credentials.json in the user's configuration folder."""
    if named := os.environ.get("LABCTL_CREDENTIALS"):
        return Path(named)
    folder = os.environ.get("XDG_CONFIG_HOME")
    return (Path(folder) if folder else Path.home() / ".config") / "labctl" / "credentials.json"


def find_credentials(url: str) -> Credentials:
    """Those for the daemon at `url`; empty ones when there are none. Raises CredentialsError."""
    entry = _read().get(_key(url))
    return Credentials() if entry is None else Credentials(entry.get("token"), entry.get("ca"))


def keep_credentials(url: str, credentials: Credentials | None) -> Path:
    """Write those for a daemon down, or forget them; returns the file. Raises CredentialsError."""
    path, known = credentials_file(), _read()
    if credentials is None:
        known.pop(_key(url), None)
    else:
        entry = {"token": credentials.token, "ca": credentials.ca}
        known[_key(url)] = {name: value for name, value in entry.items() if value is not None}
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123  # nobody else may read it, from its first moment on
            json.dump(known, file, indent=2)
            file.write("\n")
        partial.replace(path)
    except OSError as exc:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise CredentialsError(f"cannot write {path}: {exc.strerror}") from None
    return path


def split_userinfo(url: str) -> tuple[str, str | None]:
    """A URL without its user part, and the token in that: `http://user:TOKEN@host` or `http://TOKEN@host`."""
    try:
        parts = urlsplit(url)
        token = parts.password or parts.username
    except ValueError:
        return url, None
    if "@" not in parts.netloc:
        return url, None
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), token


def _read() -> dict[str, dict[str, str]]:
    path = credentials_file()
    try:
        with path.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise CredentialsError(f"others than you could read the tokens in {path}: chmod 600 {path}")
            document = json.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise CredentialsError(f"cannot read {path}: {exc}; mend or delete it, then `labctl login`") from None
    if not isinstance(document, dict) or not all(isinstance(each, dict) for each in document.values()):
        raise CredentialsError(f"{path} is no list of tokens by address: delete it, then `labctl login`")
    return document


def _key(url: str) -> str:
    """Scheme, host and port: what makes it the same daemon."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return url
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"
