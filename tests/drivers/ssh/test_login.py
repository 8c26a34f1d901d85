"""Who is let in, and whom we trust: keys, agents, certificates, strict host keys."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest
from _sshd import Sshd, make_key, prepare, sshd

from drivers.ssh import (
    HostKeyChangedError,
    HostKeyUnknownError,
    HostUnreachableError,
    LoginRefusedError,
    SshError,
    SshHost,
    SshSettings,
)
from drivers.ssh.host_keys import KnownHosts


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An agent without keys; the path of its socket."""
    path = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL) as running:
        while not path.exists():
            assert running.poll() is None
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        yield path
        running.terminate()


def test_an_unknown_key_is_refused_and_the_error_says_what_was_tried(server: Sshd, tmp_path: Path) -> None:
    wrong = make_key(tmp_path / "wrong")
    with pytest.raises(LoginRefusedError) as caught:
        SshHost.open(replace(server.settings, keys=(wrong, tmp_path / "none")))
    for part in (f"{wrong}: refused", f"{tmp_path / 'none'}: cannot be used", "authorized_keys", "nuc"):
        assert part in str(caught.value)


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_kinds_of_keys(server: Sshd, tmp_path: Path, kind: str) -> None:
    key = make_key(tmp_path / kind, kind=kind)
    with (server.folder / "authorized_keys").open("a") as file:
        file.write(Path(f"{key}.pub").read_text())
    with SshHost.open(replace(server.settings, keys=(tmp_path / "none", key))) as host:
        assert host.exec("echo in").text == "in"


def test_a_key_with_a_passphrase_needs_an_agent(server: Sshd, tmp_path: Path, agent: Path) -> None:
    key = tmp_path / "locked"
    shutil.copy(server.folder / "user", key)
    key.chmod(0o600)
    subprocess.run(["ssh-add", "-q", str(key)], check=True, stderr=subprocess.DEVNULL)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(key)], check=True)
    with pytest.raises(LoginRefusedError, match="load it into an agent: ssh-add"):
        SshHost.open(replace(server.settings, keys=(key,), agent=False))
    with SshHost.open(replace(server.settings, keys=(key,), agent=True)) as host:
        assert host.exec("echo in").text == "in"


def test_a_certificate_lets_in_a_key_that_nobody_listed(tmp_path: Path) -> None:
    authority, key = make_key(tmp_path / "authority"), make_key(tmp_path / "key")
    with sshd(tmp_path / "sshd", options=f"TrustedUserCAKeys {authority}.pub") as server:
        settings = replace(server.settings, keys=(key,))
        with pytest.raises(LoginRefusedError):
            SshHost.open(settings)
        sign = ["ssh-keygen", "-q", "-s", str(authority), "-I", "tester", "-n", settings.user, f"{key}.pub"]
        subprocess.run(sign, check=True)
        SshHost.open(settings).close()  # found beside the key
        certificate = (tmp_path / "key-cert.pub").rename(tmp_path / "elsewhere.pub")
        SshHost.open(replace(settings, certificates=(certificate,))).close()
        subprocess.run([*sign[:-1], "-V", "20200101:20200102", f"{key}.pub"], check=True)
        with pytest.raises(LoginRefusedError, match=r"key-cert\.pub: refused"):
            SshHost.open(settings)


def test_a_host_that_was_never_trusted_is_refused_until_it_is(server: Sshd, tmp_path: Path) -> None:
    settings = replace(server.settings, known_hosts=tmp_path / "folder" / "known_hosts")
    with pytest.raises(HostKeyUnknownError, match=r"not trusted yet.*labctl hosts trust nuc") as caught:
        SshHost.open(settings)
    shown = subprocess.run(["ssh-keygen", "-lf", server.folder / "host.pub"], capture_output=True, check=True).stdout
    assert caught.value.fingerprint.encode() == shown.split()[1]
    host = SshHost(settings)
    key = host.shown_key()
    assert key.fingerprint == caught.value.fingerprint
    assert [host.trust(key), host.trust(key)] == [True, False]
    host.connect()
    host.close()


def test_a_changed_host_key_is_refused_and_nothing_is_sent(tmp_path: Path) -> None:
    server = prepare(tmp_path / "sshd")
    server.start()
    try:
        SshHost.open(server.settings).close()
        old = (server.folder / "host.pub").read_text().split()[1]
        server.stop()
        for path in (server.folder / "host", server.folder / "host.pub"):
            path.unlink()
        make_key(server.folder / "host")
        server.start()
        before = server.log
        with pytest.raises(HostKeyChangedError, match=r"CHANGED: trusted is SHA256:.*Nothing was sent") as caught:
            SshHost.open(server.settings)
        assert "Accepted" not in server.log[len(before) :]
        host = SshHost(server.settings)
        key = host.shown_key()
        assert key.fingerprint == caught.value.fingerprint
        with pytest.raises(HostKeyChangedError):
            host.trust(key)
        assert host.trust(key, replace=True)
        assert old not in (server.folder / "known_hosts").read_text()
        host.connect()
        host.close()
    finally:
        server.stop()


def test_the_known_key_is_asked_for_where_a_host_has_several(tmp_path: Path) -> None:
    server = prepare(tmp_path / "sshd", options=f"HostKey {make_key(tmp_path / 'rsa', kind='rsa')}")
    known = f"[127.0.0.1]:{server.port} " + (tmp_path / "rsa.pub").read_text()
    server.settings.known_hosts.write_text(known)
    server.start()
    try:
        SshHost.open(server.settings).close()
    finally:
        server.stop()


def test_hashed_names_and_other_hosts_survive(server: Sshd, tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    key = SshHost(server.settings).shown_key()
    other = SshSettings("192.0.2.1", "x", known_hosts=path)
    KnownHosts(path).trust(other, key)
    settings = replace(server.settings, known_hosts=path)
    KnownHosts(path).trust(settings, key)
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(path)], check=True, capture_output=True)
    assert "192.0.2.1" not in path.read_text()
    for each in (other, settings):
        KnownHosts(path).check(each, key)


def test_a_known_hosts_file_of_openssh_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    old, _new, other = (make_key(tmp_path / name).with_suffix(".pub").read_text().split() for name in "abc")
    settings = SshSettings("192.0.2.1", "x", known_hosts=path)
    path.write_text(
        f"# ours\n\n@cert-authority *.example {old[0]} {old[1]}\nnuc,192.0.2.1 {old[0]} {old[1]} of the lab\n"
        f"192.0.2.1 ssh-of-the-future AAAA\n@revoked * {other[0]} {other[1]}\n"
    )
    keys = [paramiko.PKey.from_path(tmp_path / name) for name in "abc"]
    known = KnownHosts(path)
    known.check(settings, keys[0])
    with pytest.raises(HostKeyChangedError, match="CHANGED"):
        known.check(settings, keys[1])
    assert known.trust(settings, keys[1], replace=True)
    known.check(settings, keys[1])
    with pytest.raises(HostKeyChangedError, match="CHANGED"):  # also where a line had told it of several hosts
        known.check(settings, keys[0])
    known.check(replace(settings, address="nuc"), keys[0])
    for act in (known.check, lambda *given: known.trust(*given, replace=True)):
        with pytest.raises(HostKeyChangedError, match="is REVOKED in"):
            act(settings, keys[2])
    assert "@cert-authority *.example" in path.read_text()
    path.write_text("192.0.2.1 ssh-ed25519 AAA\n")
    with pytest.raises(SshError, match=r"known_hosts:1: the key of 192\.0\.2\.1 cannot be read"):
        known.check(settings, keys[0])


def test_nobody_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(HostUnreachableError, match="Connection refused; see that it is on"):
        SshHost.open(SshSettings("127.0.0.1", "x", port))
    with pytest.raises(HostUnreachableError, match=r"nobody knows where no-such-host.invalid is"):
        SshHost.open(SshSettings("no-such-host.invalid", "x"))
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(HostUnreachableError, match="speak SSH"):
        SshHost.open(SshSettings("127.0.0.1", "x", mute.getsockname()[1], connect_timeout_s=0.5))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"address": "-oProxyCommand=x"}, "no address"),
        ({"user": ""}, "no user"),
        ({"port": 0}, "outside 1"),
        ({"silence_s": 0.0}, "must be positive"),
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SshSettings(**({"address": "192.0.2.1", "user": "x"} | wrong))  # type: ignore[arg-type]


def test_an_account_without_a_shell_is_told_so(tmp_path: Path) -> None:
    with (
        sshd(tmp_path / "sshd", options="ForceCommand /bin/echo no shell here") as server,
        SshHost.open(server.settings) as host,
        pytest.raises(Exception, match=r"runs no commands for us .*no shell here.*ForceCommand"),
    ):
        host.exec("true")
