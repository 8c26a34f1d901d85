"""The keys to show a host: from files, with certificates, and from the agent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.pkey import UnknownKeyType

from drivers.ssh.errors import LoginRefusedError
from drivers.ssh.settings import SshSettings

_UNUSABLE = (OSError, ValueError, TypeError, UnsupportedAlgorithm, UnknownKeyType, paramiko.SSHException)
_USUAL = ("id_ed25519", "id_ecdsa", "id_rsa")


def log_in(transport: paramiko.Transport, settings: SshSettings) -> None:
    """Show one key after the other. Raises LoginRefusedError with what was tried, paramiko.SSHException on trouble."""
    tried: list[str] = []
    for label, key in _keys(settings, tried):
        try:
            missing = transport.auth_publickey(settings.user, key)
        except paramiko.BadAuthenticationType as exc:
            raise LoginRefusedError(
                f"{settings.title} takes no keys from {settings.user}, only: {', '.join(exc.allowed_types)}; "
                "set PubkeyAuthentication yes in its sshd_config"
            ) from exc
        except paramiko.AuthenticationException as exc:
            tried.append(f"{label}: refused")
            if not transport.is_active():
                raise LoginRefusedError(f"{_refused(settings, tried)} (it hung up: {exc})") from exc
            continue
        if not missing:
            return
        tried.append(f"{label}: accepted, but {', '.join(missing)} is asked for as well")
    raise LoginRefusedError(_refused(settings, tried))


def _refused(settings: SshSettings, tried: list[str]) -> str:
    what = "; ".join(tried) or "no key was found to try"
    return (
        f"{settings.title} does not let {settings.user} in ({what}). Put the public key into ~{settings.user}/.ssh/"
        "authorized_keys there, or name the right key in the lab file"
    )


def _keys(settings: SshSettings, tried: list[str]) -> Iterator[tuple[str, paramiko.PKey]]:
    for path in settings.keys:
        yield from _from_file(path.expanduser(), settings, tried)
    if settings.agent:
        agent = paramiko.Agent()
        try:
            for held in agent.get_keys():
                yield f"{held.comment or held.get_name()} of the agent", held
        finally:
            agent.close()
    if not settings.keys:
        for name in _USUAL:
            path = Path("~/.ssh", name).expanduser()
            if path.exists():
                yield from _from_file(path, settings, tried)


def _from_file(path: Path, settings: SshSettings, tried: list[str]) -> Iterator[tuple[str, paramiko.PKey]]:
    certificates = [each.expanduser() for each in settings.certificates]
    if (beside := path.with_name(path.name + "-cert.pub")).exists():
        certificates.append(beside)
    for certificate in certificates:
        if (key := _load(path, tried)) is not None:
            try:
                key.load_certificate(str(certificate))
            except (OSError, ValueError, paramiko.SSHException) as exc:
                tried.append(f"{certificate}: no certificate of {path.name} ({exc})")
                continue
            yield f"{path} with {certificate.name}", key
    if (key := _load(path, tried)) is not None:
        yield str(path), key


def _load(path: Path, tried: list[str]) -> paramiko.PKey | None:
    try:
        key = paramiko.PKey.from_path(path)
    except _UNUSABLE as exc:
        # cryptography raises TypeError for a key that needs a passphrase.
        locked = isinstance(exc, TypeError | paramiko.PasswordRequiredException)
        advice = "; load it into an agent: ssh-add" if locked else ""
        tried.append(f"{path}: cannot be used ({exc}{advice})")
        return None
    key.public_blob = None  # from_path takes a certificate beside the key along; those are tried one by one
    return key
