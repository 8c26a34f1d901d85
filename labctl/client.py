"""The lab from Python: leases, jobs, robots, events over the HTTP API. Imports nothing heavy until it is used.

lab = Lab("http://127.0.0.1:8470")
with lab.lease(["robot-1"], duration_s=60) as lease:
    print(lease.fencing, lease.devices)
run = lab.run(Path("course.yaml"))
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from labctl.connection import AWAY, DEFAULT_URL, Connection, LabAddressError, LabClientError, refusal
from labctl.host_client import Host
from labctl.lease_client import Lease
from labctl.robot_client import Robot

__all__ = ["DEFAULT_URL", "Host", "Lab", "LabAddressError", "LabClientError", "Lease", "Robot"]
_LONG_POLL_S = 30.0
_HOOKS_S = 7200.0  # what comes before a lease may take long, such as charging a robot
_AGAIN_S = 1.0
RESTART_S = 120.0  # a daemon may be away for so long without its waiting runs being lost
Answer = TypeVar("Answer")


class Lab(Connection):
    """A lab's daemon. Thread-safe; what it is made of: `labctl.connection.Connection`."""

    # What there is

    def devices(self, kind: str | None = None) -> list[dict[str, Any]]:
        """All devices: `name`, `kind`, `state`, `labels`, `lease`."""
        return list(self.pages("/api/v1/devices", {"kind": kind}))

    def leases(self) -> list[dict[str, Any]]:
        """Active leases and waiting requests."""
        return list(self.pages("/api/v1/leases"))

    def jobs(self, state: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """The newest jobs first."""
        return self.items("/api/v1/jobs", {"state": state, "limit": limit})

    def robots(self) -> list[dict[str, Any]]:
        """All robots with their health."""
        return self.items("/api/v1/robots", {})

    def job(self, job: str) -> dict[str, Any]:
        """One job with the ids of its `runs`."""
        return self.request("GET", f"/api/v1/jobs/{job}")

    def run_result(self, run: str) -> dict[str, Any]:
        """One run with its `measurements` and `artifacts`."""
        return self.request("GET", f"/api/v1/runs/{run}")

    def health(self) -> dict[str, Any]:
        """The daemon's own word that it answers, with its version."""
        return self.request("GET", "/healthz")

    # Leases

    def lease(
        self,
        devices: Sequence[str] = (),
        *,
        require: Sequence[Mapping[str, Any]] = (),
        duration_s: float = 60,
        wait_s: float = 0,
        **wish: Any,
    ) -> Lease:
        """Take devices by name, or by `{"kind": ..., "labels": {...}}`; all or none.

        The lease is renewed in the background until it is released. `wish`: `priority`, `rooms`, `heartbeat_s`,
        `limit_s` as of the HTTP API. Raises LabClientError with status 409 when somebody else has them for longer than
        `wait_s`.
        """
        granted = self.request_lease(devices, require=require, duration_s=duration_s, wait_s=wait_s, **wish)
        return Lease(self, granted, duration_s)

    def request_lease(
        self,
        devices: Sequence[str] = (),
        *,
        require: Sequence[Mapping[str, Any]] = (),
        duration_s: float = 60,
        wait_s: float = 0,
        **wish: Any,
    ) -> dict[str, Any]:
        """As `lease`, without renewing it: the lease as the API shows it. With `starts_at` (ISO 8601) a reservation."""
        wanted: dict[str, Any] = {"duration_s": duration_s, "wait_s": wait_s, **wish}
        if devices:
            wanted["devices"] = list(devices)
        if require:
            wanted["require"] = [dict(each) for each in require]
        timeouts = (30, wait_s + _HOOKS_S, 30, 30)
        return self.request("POST", "/api/v1/leases", json=wanted, timeout=timeouts)

    def renew(self, lease: str, duration_s: float | None = None) -> dict[str, Any]:
        """Let a lease last for `duration_s` from now, or for its first duration."""
        return self.request("POST", f"/api/v1/leases/{lease}/renew", json={"duration_s": duration_s})

    def beat(self, lease: str) -> dict[str, Any]:
        """Say that the holder of a lease with a heartbeat lives."""
        return self.request("POST", f"/api/v1/leases/{lease}/heartbeat")

    def hand_over(self, lease: str, to: str) -> dict[str, Any]:
        """Make somebody else the holder of a lease; its fencing number changes."""
        return self.request("POST", f"/api/v1/leases/{lease}/hand-over", json={"to": to})

    def release(self, lease: str, reason: str = "") -> dict[str, Any]:
        """End a lease, a waiting request or a reservation. Somebody else's needs a reason."""
        return self.request("DELETE", f"/api/v1/leases/{lease}", params={"reason": reason})

    def show_lease(self, lease: str) -> dict[str, Any]:
        """One lease; while it waits, `waits_for` says for what, who has it until when, and when it likely starts."""
        return self.request("GET", f"/api/v1/leases/{lease}")

    def maintain(self, device: str, reason: str, *, end_lease: bool = False) -> dict[str, Any]:
        """Take a device out of service, and with `end_lease` away from who holds it."""
        body = {"reason": reason, "end_lease": end_lease}
        return self.request("POST", f"/api/v1/devices/{device}/maintenance", json=body)

    def return_device(self, device: str) -> dict[str, Any]:
        """Put a device back into service, from maintenance or quarantine."""
        return self.request("POST", f"/api/v1/devices/{device}/return")

    def daemons(self) -> list[dict[str, Any]]:
        """The daemons that form the lab; `alive` those that were heard of lately."""
        return self.items("/api/v1/daemons", {})

    # Jobs

    def submit(
        self,
        job: str | Path,
        source: str | None = None,
        *,
        variables: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> dict[str, Any]:
        """Queue a job: a path, or its YAML or JSON text. Raises LabClientError with every error in it.

        `variables`: values for its `vars`. `key`: a repetition with the same key queues nothing more.
        """
        if isinstance(job, Path):
            try:
                text, source = job.read_text(encoding="utf-8"), source or str(job)
            except (OSError, UnicodeDecodeError) as exc:
                raise LabClientError(f"{job}: cannot be read: {exc}", 422) from None
        else:
            text = job
        return self.request(
            "POST",
            "/api/v1/jobs",
            params={"source": source or "job", "var": [f"{name}={value}" for name, value in (variables or {}).items()]},
            content=text.encode(),
            headers={"content-type": "application/yaml", **({"idempotency-key": key} if key else {})},
        )

    def run(self, job: str | Path) -> dict[str, Any]:
        """Submit a job, wait for its end; the finished job. A Ctrl-C meanwhile cancels it."""
        submitted = self.submit(job)
        try:
            for _ in self.follow(submitted["id"]):
                pass
        except KeyboardInterrupt:
            self.cancel(submitted["id"], "interrupted")
            raise
        return self.job(submitted["id"])

    def cancel(self, job: str, reason: str = "") -> dict[str, Any]:
        """End a job; its teardown is done."""
        return self.request("POST", f"/api/v1/jobs/{job}/cancel", params={"reason": reason})

    def rerun(self, job: str) -> dict[str, Any]:
        """Queue a finished job anew, as it was; the new job."""
        return self.request("POST", f"/api/v1/jobs/{job}/rerun")

    def junit(self, job: str) -> bytes:
        """The result of a job as JUnit XML."""
        return self.raw("GET", f"/api/v1/jobs/{job}/junit").content

    # Signals of runs

    def notify(self, run: str, signal: str, payload: Any = None) -> dict[str, Any]:
        """Say something to all lanes and programs of a run that wait for it, now or later."""
        return self.request("POST", f"/api/v1/runs/{run}/signals/{signal}", json=payload)

    def await_signal(self, run: str, signal: str, timeout_s: float = 300) -> dict[str, Any]:
        """The newest signal of that name, with its `payload`, once there is one; outlives restarts of the daemon.

        Raises LabClientError when nobody will say it any more (status 409), or none came in time (status 0).
        """
        give_up = time.monotonic() + timeout_s
        while (left := give_up - time.monotonic()) > 0:
            wait = {"wait": min(left, _LONG_POLL_S)}
            try:
                answer = self.raw("GET", f"/api/v1/runs/{run}/signals/{signal}", params=wait, timeout=wait["wait"] + 30)
            except LabClientError as exc:
                if exc.status not in AWAY:
                    raise
                time.sleep(min(_AGAIN_S, max(0.0, give_up - time.monotonic())))
                continue
            if answer.status_code == 200:
                return dict(answer.json())
        raise LabClientError(f"{signal!r} was not said in run {run} within {timeout_s:g} s")

    def follow(
        self, job: str, *, patience_s: float = RESTART_S, tell: Callable[[str], None] = lambda _what: None
    ) -> Iterator[dict[str, Any]]:
        """The events of a job and of its runs from the beginning, until the job is finished.

        A daemon that does not answer is asked again for `patience_s`, so that its restart is outlived; `tell` hears of
        that once. Raises LabClientError when that is over.
        """
        after = 0
        while True:
            items, after = self._patiently(patience_s, tell, self._events, after, 500, _LONG_POLL_S, job)
            yield from items
            if any(each["kind"] == "job.finished" and each["job"] == job for each in items):
                return

    def events(
        self, after: int = 0, *, patience_s: float = 0.0, tell: Callable[[str], None] = lambda _what: None
    ) -> Iterator[dict[str, Any]]:
        """All events with a sequence number above `after`, for ever; none is left out. `patience_s`, `tell`: as of
        `follow`."""
        while True:
            items, after = self._patiently(patience_s, tell, self._events, after, 500, _LONG_POLL_S)
            yield from items

    def latest_event(self) -> int:
        """The sequence number of the newest event, to go on from."""
        return int(self.request("GET", "/api/v1/events", params={"from_now": True})["next"])

    def download(self, artifact: str, target: Path) -> None:
        """Write an artifact's content to the file `target`, whole or not at all."""
        partial = target.with_name(f".{target.name}.partial")
        with self.http().stream("GET", f"/api/v1/artifacts/{artifact}/content") as response:
            if response.is_error:
                response.read()
                raise refusal(response)
            with partial.open("wb") as file:
                for block in response.iter_bytes():
                    file.write(block)
        partial.replace(target)

    # Hosts

    def hosts(self) -> list[dict[str, Any]]:
        """All hosts with their connections."""
        return self.items("/api/v1/hosts", {})

    def host(self, name: str) -> Host:
        """A host by name; nothing is asked of the daemon yet."""
        return Host(self, name)

    # Robots

    def robot(self, name: str) -> Robot:
        """A robot by name; nothing is asked of the daemon yet."""
        return Robot(self, name)

    def _events(
        self, after: int, limit: int, wait_s: float, job: str | None = None
    ) -> tuple[list[dict[str, Any]], int]:
        params = {"after": after, "limit": limit, "wait_s": wait_s, "job": job}
        page = self.request("GET", "/api/v1/events", params=params, timeout=wait_s + 30)
        return list(page["items"]), int(page["next"])

    def _patiently(
        self, patience_s: float, tell: Callable[[str], None], ask: Callable[..., Answer], *about: Any
    ) -> Answer:
        give_up: float | None = None
        while True:
            try:
                return ask(*about)
            except LabClientError as exc:
                if exc.status not in AWAY or isinstance(exc, LabAddressError):
                    raise
                now = time.monotonic()
                if give_up is None:
                    give_up = now + patience_s
                    if patience_s:
                        tell(f"the daemon does not answer ({exc}); asking again for {patience_s:g} s")
                if now >= give_up:
                    raise
                time.sleep(min(_AGAIN_S, give_up - now))
