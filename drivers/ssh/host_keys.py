"""Strict host keys: which key a host must show, and the explicit act of trusting one.

File format: sshd(8), section SSH_KNOWN_HOSTS FILE FORMAT.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.hostkeys import HostKeys

from drivers.ssh.errors import HostKeyChangedError, HostKeyUnknownError, SshError
from drivers.ssh.settings import SshSettings

# The names of signature algorithms that prove possession of an RSA key (RFC 8332).
_RSA = ("rsa-sha2-512", "rsa-sha2-256")


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
                if not replace:
                    raise
            else:
                return False
            lines = [line for line in self._lines() if not _names(line, settings.known_as)]
            lines.append(f"{settings.known_as} {shown.get_name()} {shown.get_base64()}\n")
            _write(self.path.expanduser(), "".join(lines))
        return True

    def _keys(self, host: str) -> dict[str, paramiko.PKey]:
        path = self.path.expanduser()
        if not path.exists():
            return {}
        try:
            entries: Mapping[str, paramiko.PKey] = HostKeys(str(path)).lookup(host) or {}
        except (OSError, UnicodeDecodeError, paramiko.SSHException) as exc:
            raise SshError(f"the known hosts in {path} cannot be read: {exc}") from exc
        return dict(entries.items())

    def _lines(self) -> list[str]:
        path = self.path.expanduser()
        return path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        path = self.path.expanduser()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.with_name(f".{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _names(line: str, host: str) -> bool:
    """Whether a line is about that host alone."""
    fields = line.split()
    if len(fields) < 3 or fields[0].startswith(("#", "@")):
        return False
    if fields[0].startswith("|1|"):
        return HostKeys.hash_host(host, fields[0]) == fields[0]
    return fields[0] == host


def _write(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _trust(settings: SshSettings) -> str:
    return f"labctl hosts trust {settings.name or settings.address}"
