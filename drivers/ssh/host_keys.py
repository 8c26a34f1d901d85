"""Strict host keys: which key a host must show, and the explicit act of trusting one.

File format: sshd(8), section SSH_KNOWN_HOSTS FILE FORMAT.
"""

from __future__ import annotations

import contextlib
import fcntl
import fnmatch
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.hostkeys import HostKeyEntry, HostKeys, InvalidHostKey

from drivers.ssh.errors import HostKeyChangedError, HostKeyUnknownError, SshError
from drivers.ssh.settings import SshSettings

# The names of signature algorithms that prove possession of an RSA key (RFC 8332).
_RSA = ("rsa-sha2-512", "rsa-sha2-256")
_REVOKED = "@revoked"


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of the file; all empty where it is a comment. `marker`: "@revoked", "@cert-authority" or ""."""

    text: str
    marker: str = ""
    names: tuple[str, ...] = ()
    kind: str = ""
    key: str = ""

    @classmethod
    def parse(cls, text: str) -> _Line:
        fields = text.split()
        if not fields or fields[0].startswith("#"):
            return cls(text)
        marker = fields.pop(0) if fields[0].startswith("@") else ""
        return cls(text, marker, tuple(fields[0].split(",")), *fields[1:3]) if len(fields) > 2 else cls(text)

    def about(self, host: str) -> bool:
        """Whether it tells the key of that host, by its name or the hash of it."""
        return not self.marker and any(_is(name, host) for name in self.names)

    def revokes(self, host: str, shown: paramiko.PKey) -> bool:
        """Whether that key may not be trusted for that host whatever else is said."""
        if self.marker != _REVOKED or self.key != shown.get_base64():
            return False
        return any(_is(name, host) or fnmatch.fnmatchcase(host, name) for name in self.names)

    def without(self, host: str) -> str:
        """The line with nothing said of that host; empty where nothing is left."""
        if not self.about(host):
            return self.text
        left = ",".join(name for name in self.names if not _is(name, host))
        return f"{left} {self.kind} {self.key}\n" if left else ""


@dataclass(frozen=True, slots=True)
class KnownHosts:
    """A known_hosts file as OpenSSH keeps it, hashed names included."""

    path: Path

    def algorithms(self, host: str) -> tuple[str, ...]:
        """The algorithms to ask the host for, so that it shows a key we can compare; () when it is not known."""
        names: list[str] = []
        for kind in self._keys(host):
            names += _RSA if kind == "ssh-rsa" else (kind,)
        return tuple(names)

    def check(self, settings: SshSettings, shown: paramiko.PKey) -> None:
        """Raises HostKeyUnknownError or HostKeyChangedError unless `shown` is the host's trusted key."""
        if any(line.revokes(settings.known_as, shown) for line in self._lines()):
            raise HostKeyChangedError(
                f"the host key of {settings.title}, {shown.fingerprint}, is REVOKED in {self.path}: whoever shows it "
                "may be anybody. Nothing was sent. Give the host a new key",
                shown.fingerprint,
            )
        known = self._keys(settings.known_as)
        if not known:
            raise HostKeyUnknownError(
                f"{settings.title} is not trusted yet: it shows the {shown.get_name()} key {shown.fingerprint}. "
                f"Compare that at the host itself (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then:"
                f" {_trust(settings)}",
                shown.fingerprint,
            )
        if (trusted := known.get(shown.get_name())) is None or trusted != shown:
            expected = " or ".join(key.fingerprint for key in known.values())
            raise HostKeyChangedError(
                f"the host key of {settings.title} CHANGED: trusted is {expected}, it shows {shown.fingerprint}. "
                "Somebody may be listening in, or the host was installed anew. Nothing was sent. Only if you know that "
                f"it was installed anew, compare the key at the host itself, then: {_trust(settings)} --replace",
                shown.fingerprint,
            )

    def trust(self, settings: SshSettings, shown: paramiko.PKey, *, replace: bool = False) -> bool:
        """Trust the key from now on; False when it was trusted already.

        Raises HostKeyChangedError when another one is trusted, unless `replace`.
        """
        with self._locked():
            try:
                self.check(settings, shown)
            except HostKeyUnknownError:
                pass
            except HostKeyChangedError:
                if not replace or any(line.revokes(settings.known_as, shown) for line in self._lines()):
                    raise
            else:
                return False
            lines = [line.without(settings.known_as) for line in self._lines()]
            lines.append(f"{settings.known_as} {shown.get_name()} {shown.get_base64()}\n")
            _write(self.path.expanduser(), "".join(lines))
        return True

    def _keys(self, host: str) -> dict[str, paramiko.PKey]:
        found: dict[str, paramiko.PKey] = {}
        for number, line in enumerate(self._lines(), 1):
            if not line.about(host):
                continue
            try:
                entry = HostKeyEntry.from_line(f"{host} {line.kind} {line.key}")
            except (InvalidHostKey, ValueError, paramiko.SSHException) as exc:
                raise SshError(
                    f"{self.path}:{number}: the key of {host} cannot be read; mend or delete the line"
                ) from exc
            if entry is not None and entry.key is not None:  # a kind that we know
                found.setdefault(line.kind, entry.key)
        return found

    def _lines(self) -> list[_Line]:
        path = self.path.expanduser()
        try:
            text = path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""
        except OSError as exc:
            raise SshError(f"the known hosts in {path} cannot be read: {exc.strerror}") from exc
        return [_Line.parse(line) for line in text.splitlines(keepends=True)]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        path = self.path.expanduser()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.with_name(f".{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _is(name: str, host: str) -> bool:
    if name.startswith("|1|"):
        return bool(HostKeys.hash_host(host, name) == name)
    return name == host


def _write(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _trust(settings: SshSettings) -> str:
    return f"labctl hosts trust {settings.name or settings.address}"
