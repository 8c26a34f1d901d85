"""`labctl serve` beyond the loopback, and the command line with tokens: real processes, real TLS."""

from __future__ import annotations

import json
import os
import signal
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from labctl.client import Lab, LabClientError

LAB = """
lab: test
policies: [who.yaml]
devices:
  hall: {kind: room}
  eye: {kind: lidar, url: "tcp://127.0.0.1:1", room: hall}
"""
POLICIES = """
statements:
  - {name: people look, effect: allow, principals: ["person:*"], actions: [read], resources: ["device:*"]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lab.yaml").write_text(LAB, encoding="utf-8")
    (tmp_path / "who.yaml").write_text(POLICIES, encoding="utf-8")
    return tmp_path


@pytest.fixture
def labctl(folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command line of a user whose configuration is in the test's folder."""

    def run(*arguments: str, token: str = "", given: str = "") -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LABCTL_")}
        environment |= {"XDG_CONFIG_HOME": str(folder / "config"), "COLUMNS": "200"}
        environment |= {"LABCTL_TOKEN": token} if token else {}
        return subprocess.run(
            [sys.executable, "-m", "labctl", *arguments],
            capture_output=True, text=True, timeout=100, check=False, cwd=folder, env=environment, input=given,
        )  # fmt: skip

    return run


@pytest.fixture
def certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 with its key, signed by itself."""
    request = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    request += [
        "-days",
        "2",
        "-subj",
        "/CN=lab",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
    ]
    subprocess.run(request, cwd=folder, check=True, capture_output=True)
    return folder / "cert.pem"


@pytest.fixture
def serve(folder: Path) -> Iterator[Callable[..., str]]:
    """Starts daemons; gives their addresses."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str, host: str = "127.0.0.1") -> str:
        command = [sys.executable, "-m", "labctl", "serve", "--lab", "lab.yaml", "--data", "data", "--port", "0"]
        process = subprocess.Popen([*command, "--host", host, *options], cwd=folder, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        return str(json.loads(process.stdout.readline())["url"])

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
    for process in started:
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


def make_token(labctl: Any, name: str = "root", *options: str) -> str:
    made = labctl("tokens", "create", name, "--data", "data", *options)
    assert made.returncode == 0, made.stderr
    return str(made.stdout.strip())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--host", "0.0.0.0"], "not listening on 0.0.0.0 without protection"),
        (["--host", "0.0.0.0", "--tls-key", "key.pem"], "--tls-key needs --tls-cert"),
        (["--host", "0.0.0.0", "--tls-cert", "lab.yaml"], "cannot use the certificate lab.yaml"),
        (["--host", "0.0.0.0", "--behind-proxy"], "the lab has no token"),
        (["--behind-proxy"], "the lab has no token"),
    ],
)
def test_a_daemon_that_others_could_use_does_not_start(labctl: Any, options: list[str], told: str) -> None:
    ran = labctl("serve", "--lab", "lab.yaml", "--port", "0", "--data", "data", *options)
    assert (ran.returncode, "Traceback" in ran.stderr) == (2, False)
    assert told in ran.stderr


def test_tls_with_a_token_serves_other_machines(labctl: Any, serve: Any, certificate: Path) -> None:
    token = make_token(labctl, "root", "--administrator")
    url = serve("--tls-cert", "cert.pem", "--tls-key", "key.pem", host="0.0.0.0").replace("0.0.0.0", "127.0.0.1")
    assert url.startswith("https://")
    trust = ssl.create_default_context(cafile=str(certificate))
    with httpx.Client(base_url=url, verify=trust, trust_env=False) as stranger:
        assert stranger.get("/api/v1/devices").status_code == 401
        assert stranger.get("/healthz").status_code == 200
    with Lab(url, token, ca=str(certificate)) as lab:
        assert {each["name"] for each in lab.devices()} == {"hall", "eye"}
    with Lab(url, token) as distrusting, pytest.raises(LabClientError, match="CERTIFICATE_VERIFY_FAILED"):
        distrusting.devices()
    logged_in = labctl("login", "--url", url, "--ca", "cert.pem", given=token + "\n")
    assert logged_in.returncode == 0, logged_in.stderr
    assert labctl("whoami", "--url", url).stdout == "person:root, administrator\n"


def test_behind_a_proxy_loopback_counts_for_nothing(labctl: Any, serve: Any) -> None:
    token = make_token(labctl, "root", "--administrator")
    url = serve("--behind-proxy")
    headers = {"host": "lab.example", "x-forwarded-for": "192.0.2.9"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False) as proxy:
        assert proxy.get("/api/v1/devices").status_code == 401
        assert proxy.get("/api/v1/devices", headers={"authorization": f"Bearer {token}"}).status_code == 200
        assert proxy.get("/api/v1/robots/x/estop").status_code == 401


def test_the_command_line_with_tokens(labctl: Any, serve: Any, folder: Path) -> None:
    url = serve()
    assert labctl("tokens", "create", "anna", "--url", url).returncode == 3  # the first must be an administrator's
    root = labctl("tokens", "create", "root", "--administrator", "--expires", "1h", "--url", url).stdout.strip()
    assert "this lab asks for a token" in labctl("devices", "--url", url).stderr
    assert labctl("login", "--url", url, given=root + "\n").returncode == 0
    kept = folder / "config" / "labctl" / "credentials.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    anna = json.loads(labctl("tokens", "create", "anna", "--json", "--url", url).stdout)
    assert "eye" in labctl("devices", "--url", url, token=anna["token"]).stdout
    denied = labctl("leases", "--url", url, token=anna["token"])
    assert (denied.returncode, "policy explain person:anna read" in denied.stderr) == (3, True)

    explained = labctl("policy", "explain", "anna", "read", "device:eye", "--url", url)
    assert explained.returncode == 0
    assert f"decided by {folder / 'who.yaml'}:3 (people look)" in explained.stdout
    assert labctl("policy", "explain", "anna", "leases.release", "lease:7", "--url", url).returncode == 1
    assert "people look" in labctl("policy", "show", "--url", url).stdout
    assert "root" in labctl("tokens", "list", "--url", url).stdout
    fresh = labctl("tokens", "rotate", anna["id"], "--overlap", "0", "--url", url)
    assert fresh.returncode == 0
    assert labctl("whoami", "--url", url, token=anna["token"]).returncode == 3
    assert labctl("whoami", "--url", url, token=fresh.stdout.strip()).stdout == "person:anna\n"
    assert "person:anna" in labctl("audit", "list", "--denied", "--url", url).stdout
    head = labctl("audit", "verify", "--url", url).stdout.splitlines()[1]
    assert labctl("audit", "verify", "--known", head, "--url", url).returncode == 0
    assert labctl("audit", "verify", "--known", "1:" + "0" * 64, "--url", url).returncode == 1
    assert labctl("logout", "--url", url).returncode == 0
    assert labctl("whoami", "--url", url).returncode == 3


def test_policies_are_checked_and_explained_without_a_daemon(labctl: Any, folder: Path) -> None:
    checked = labctl("policy", "check", "who.yaml")
    assert (checked.returncode, checked.stdout) == (0, "1 statements in 1 files can be used\n")
    told = labctl("policy", "explain", "ci:nightly", "read", "device:eye", "--file", "who.yaml")
    assert told.returncode == 1
    assert "who.yaml:3 (people look): would allow, but for its principals: person:*" in told.stdout
    (folder / "who.yaml").write_text("statements: [{effect: allow}]", encoding="utf-8")
    broken = labctl("policy", "check", "who.yaml")
    assert (broken.returncode, "who.yaml:1:14: at statements[0].principals is required" in broken.stderr) == (2, True)
    assert "who.yaml:1:14" in labctl("serve", "--lab", "lab.yaml", "--port", "0").stderr


def test_a_readable_file_of_tokens_is_refused(labctl: Any, folder: Path) -> None:
    kept = folder / "config" / "labctl" / "credentials.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("{}", encoding="utf-8")
    kept.chmod(0o644)
    told = labctl("devices", "--url", "http://127.0.0.1:1")
    assert (told.returncode, f"chmod 600 {kept}" in told.stderr) == (3, True)
