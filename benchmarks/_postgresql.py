"""A PostgreSQL server for tests and benchmarks, from the programs that Debian installs."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
# A crash of the machine may take the tests' data; a crash of the server, which tests cause, does not.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "16MB",
    "autovacuum": "off",
    "log_min_messages": "fatal",
}


class Cluster:
    """A server on a Unix socket. PostgreSQL refuses to run as root, so root runs it as somebody else."""

    def __init__(self, *, durable: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="labctl-pg-"))
        self._user = pwd.getpwnam("nobody") if os.getuid() == 0 else None
        if self._user is not None:
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0
        self._settings = _SETTINGS | ({"fsync": "on", "full_page_writes": "on"} if durable else {})
        self._run("initdb", "--auth=trust", "--username=lab", "--encoding=UTF8", "--locale=C", "--no-sync", "-D")
        self.start()

    def url(self, database: str) -> str:
        return f"postgresql://lab@/{database}?host={self.folder}"

    def start(self) -> None:
        settings = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(PROGRAMS / "postgres"), "-D", str(self.folder / "data"), "-k", str(self.folder), *settings]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **self._as_user())
        ready = [str(PROGRAMS / "pg_isready"), "-h", str(self.folder), "-t", "5", "-q"]
        while subprocess.run(ready, check=False).returncode:
            if self._process.poll() is not None:
                raise RuntimeError(f"PostgreSQL ended: {(self.folder / 'log').read_text(encoding='utf-8')}")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT in order, cutting connections off; SIGQUIT like a crash."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(30)

    def remove(self) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder)

    def create(self, template: str = "template0") -> str:
        """A new database; returns its URL."""
        self._made += 1
        name = f"lab{self._made}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def sql(self, statement: str) -> None:
        command = [str(PROGRAMS / "psql"), "-h", str(self.folder), "-U", "lab", "-d", "postgres", "-qXc", statement]
        subprocess.run(command, check=True, capture_output=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(PROGRAMS / program), *arguments, str(self.folder / "data")]
        subprocess.run(command, check=True, capture_output=True, **self._as_user())

    def _as_user(self) -> dict[str, object]:
        if self._user is None:
            return {"cwd": self.folder}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": [], "cwd": self.folder}
