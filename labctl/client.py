"""The lab from Python: leases, jobs, robots, events over the HTTP API. Imports nothing heavy until it is used.

lab = Lab("http://127.0.0.1:8470")
with lab.lease(["robot-1"], duration_s=60) as lease:
    print(lease.fencing, lease.devices)
run = lab.run(Path("course.yaml"))
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from labctl.credentials import CredentialsError, find_credentials, split_userinfo
from labctl.host_client import Host

if TYPE_CHECKING:
    import ssl

    import httpx

DEFAULT_URL = "http://127.0.0.1:8470"
# Renew when a third of the duration is over.
_RENEW_AFTER = 1 / 3
_LONG_POLL_S = 30.0
_HOOKS_S = 7200.0  # what comes before a lease may take long, such as charging a robot


class LabClientError(Exception):
    """The daemon refused, or does not answer. `status`: of HTTP, 0 without an answer. `problem`: its document."""

    def __init__(self, detail: str, status: int = 0, problem: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.problem = dict(problem or {})


class LabAddressError(LabClientError):
    """What was given as the daemon's address is none: nobody was asked."""


class Lab:
    """A lab's daemon. Thread-safe.

    `url`: LABCTL_URL unless given. `token`: the user part of the URL, LABCTL_TOKEN, or what `labctl login` kept unless
    given. `ca`: a file with the certificate authority to trust for https; LABCTL_CA, or what `labctl login` kept.
    """

    def __init__(self, url: str | None = None, token: str | None = None, ca: str | None = None) -> None:
        self.url, in_url = split_userinfo((url or os.environ.get("LABCTL_URL") or DEFAULT_URL).rstrip("/"))
        self._token = token or in_url or os.environ.get("LABCTL_TOKEN")
        self._ca = ca or os.environ.get("LABCTL_CA")
        self._lock = threading.Lock()
        self._http: httpx.Client | None = None

    def close(self) -> None:
        """Let go of the connections. May be repeated."""
        with self._lock:
            if self._http is not None:
                self._http.close()
                self._http = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What there is

    def devices(self, kind: str | None = None) -> list[dict[str, Any]]:
        """All devices: `name`, `kind`, `state`, `labels`, `lease`."""
        return list(self._pages("/api/v1/devices", {"kind": kind}))

    def leases(self) -> list[dict[str, Any]]:
        """Active leases and waiting requests."""
        return list(self._pages("/api/v1/leases"))

    def jobs(self, state: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """The newest jobs first."""
        return self._items("/api/v1/jobs", {"state": state, "limit": limit})

    def robots(self) -> list[dict[str, Any]]:
        """All robots with their health."""
        return self._items("/api/v1/robots", {})

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
        return self._items("/api/v1/daemons", {})

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
        return self._raw("GET", f"/api/v1/jobs/{job}/junit").content

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
                answer = self._raw(
                    "GET", f"/api/v1/runs/{run}/signals/{signal}", params=wait, timeout=wait["wait"] + 30
                )
            except LabClientError as exc:
                if exc.status not in (0, 502, 503):
                    raise
                time.sleep(min(1.0, max(0.0, give_up - time.monotonic())))
                continue
            if answer.status_code == 200:
                return dict(answer.json())
        raise LabClientError(f"{signal!r} was not said in run {run} within {timeout_s:g} s")

    def follow(self, job: str) -> Iterator[dict[str, Any]]:
        """The events of a job and of its runs from the beginning, until the job is finished."""
        after = 0
        while True:
            items, after = self._events(after, 500, _LONG_POLL_S, job)
            yield from items
            if any(each["kind"] == "job.finished" and each["job"] == job for each in items):
                return

    def events(self, after: int = 0) -> Iterator[dict[str, Any]]:
        """All events with a sequence number above `after`, for ever; none is left out."""
        while True:
            items, after = self._events(after, 500, _LONG_POLL_S)
            yield from items

    def latest_event(self) -> int:
        """The sequence number of the newest event, to go on from."""
        after = 0
        while True:
            items, after = self._events(after, 1000, 0)
            if not items:
                return after

    def download(self, artifact: str, target: Path) -> None:
        """Write an artifact's content to the file `target`, whole or not at all."""
        partial = target.with_name(f".{target.name}.partial")
        with self._client().stream("GET", f"/api/v1/artifacts/{artifact}/content") as response:
            if response.is_error:
                response.read()
                raise _refusal(response)
            with partial.open("wb") as file:
                for block in response.iter_bytes():
                    file.write(block)
        partial.replace(target)

    # Hosts

    def hosts(self) -> list[dict[str, Any]]:
        """All hosts with their connections."""
        return self._items("/api/v1/hosts", {})

    def host(self, name: str) -> Host:
        """A host by name; nothing is asked of the daemon yet."""
        return Host(self, name)

    # Robots

    def robot(self, name: str) -> Robot:
        """A robot by name; nothing is asked of the daemon yet."""
        return Robot(self, name)

    # HTTP

    def request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """A request of the API. Raises LabClientError when it is refused or nobody answers."""
        document: dict[str, Any] = self._raw(method, path, **options).json()
        return document

    def send(self, method: str, path: str, **options: Any) -> None:
        """A request whose answer says no more than that it was done. Raises as `request` does."""
        self._raw(method, path, **options)

    @contextlib.contextmanager
    def stream(self, method: str, path: str, **options: Any) -> Iterator[Iterator[bytes]]:
        """The bytes of a long answer, as they come. Raises LabClientError, also when it breaks off."""
        import httpx  # noqa: PLC0415 - see above

        try:
            with self._client().stream(method, path, timeout=httpx.Timeout(30, read=None), **options) as response:
                if response.is_error:
                    response.read()
                    raise _refusal(response)
                yield response.iter_raw()
        except httpx.TransportError as exc:
            raise LabClientError(f"the daemon at {self.url} broke off: {exc or type(exc).__name__}") from None

    def _raw(self, method: str, path: str, **options: Any) -> httpx.Response:
        import httpx  # noqa: PLC0415 - takes longer to import than all the rest

        if "params" in options:
            options["params"] = {key: value for key, value in options["params"].items() if value is not None}
        try:
            response = self._client().request(method, path, **options)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as exc:
            raise LabAddressError(
                f"{self.url!r} is no address of a daemon ({exc}): write {DEFAULT_URL}, say, for --url or LABCTL_URL"
            ) from None
        except httpx.TransportError as exc:
            raise LabClientError(
                f"no answer from a labctl daemon at {self.url}: {exc or type(exc).__name__}; start one with "
                "`labctl serve --lab FILE`, or say where it is with LABCTL_URL"
            ) from None
        if response.is_error:
            raise _refusal(response)
        return response

    def _client(self) -> httpx.Client:
        import httpx  # noqa: PLC0415 - see above

        with self._lock:
            if self._http is None:
                token, verify = self._credentials()
                headers = {"authorization": f"Bearer {token}"} if token else {}
                # No proxy of the environment: the daemon is on this machine or in the lab's own network.
                self._http = httpx.Client(
                    base_url=self.url, headers=headers, timeout=30, trust_env=False, verify=verify
                )
            return self._http

    def _credentials(self) -> tuple[str | None, ssl.SSLContext | bool]:
        token, ca = self._token, self._ca
        if token is None or (ca is None and self.url.startswith("https:")):
            try:
                kept = find_credentials(self.url)
            except CredentialsError as exc:
                raise LabClientError(str(exc)) from None
            token, ca = token or kept.token, ca or kept.ca
        if token is not None and not (token.isascii() and token.isprintable()):
            raise LabClientError("the token has characters that no token has: was it copied as a whole?")
        if ca is None:
            return token, True
        import ssl  # noqa: PLC0415 - see above

        try:
            return token, ssl.create_default_context(cafile=ca)
        except (OSError, ssl.SSLError) as exc:
            raise LabClientError(f"cannot use the certificate authority in {ca}: {exc}") from None

    def _items(self, path: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        return list(self.request("GET", path, params=dict(params))["items"])

    def _pages(self, path: str, params: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        cursor = None
        while True:
            page = self.request("GET", path, params={**(params or {}), "cursor": cursor})
            yield from page["items"]
            if (cursor := page["next"]) is None:
                return

    def _events(
        self, after: int, limit: int, wait_s: float, job: str | None = None
    ) -> tuple[list[dict[str, Any]], int]:
        params = {"after": after, "limit": limit, "wait_s": wait_s, "job": job}
        page = self.request("GET", "/api/v1/events", params=params, timeout=wait_s + 30)
        return list(page["items"]), int(page["next"])


class Lease:
    """A granted lease, renewed in the background. `lost`: says why when it ended before it was released."""

    def __init__(self, lab: Lab, granted: Mapping[str, Any], duration_s: float) -> None:
        self._lab = lab
        self.id: str = granted["id"]
        self.fencing: int = granted["fencing"]
        self.devices: list[str] = list(granted["devices"])
        self.expires_at: str = granted["expires_at"]
        self.lost: str | None = None
        self._duration_s = duration_s
        self._over = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name=f"lease {self.id}", daemon=True)
        self._renewing.start()

    def release(self) -> None:
        """Give the devices back. May be repeated."""
        if self._over.is_set():
            return
        self._over.set()
        self._renewing.join()
        if self.lost is None:
            self._lab.request("DELETE", f"/api/v1/leases/{self.id}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.release()
        else:
            with contextlib.suppress(LabClientError):  # what went wrong inside counts
                self.release()

    def _renew(self) -> None:
        while not self._over.wait(self._duration_s * _RENEW_AFTER):
            try:
                self.expires_at = self._lab.request("POST", f"/api/v1/leases/{self.id}/renew")["expires_at"]
            except LabClientError as exc:
                if exc.status:  # refused; without an answer it is tried again
                    self.lost = str(exc)
                    return


class Robot:
    """A robot of the lab."""

    def __init__(self, lab: Lab, name: str) -> None:
        self._lab = lab
        self.name = name

    def status(self) -> dict[str, Any]:
        """Health, motion, battery."""
        return self._lab.request("GET", f"/api/v1/robots/{self.name}")

    def estop(self, reason: str = "") -> dict[str, Any]:
        """Emergency stop: the robot stops now and stays stopped until it is reset. Needs no lease."""
        return self._lab.request("POST", f"/api/v1/robots/{self.name}/estop", json={"reason": reason})

    def reset(self, person: str, reason: str) -> dict[str, Any]:
        """Take the emergency stop off: a person's act, at the robot's side."""
        body = {"person": person, "reason": reason}
        return self._lab.request("POST", f"/api/v1/robots/{self.name}/estop/reset", json=body)

    def health(self) -> dict[str, Any]:
        """Checks, lab errors in a row, and how far it is on its way out of quarantine."""
        return self._lab.request("GET", f"/api/v1/devices/{self.name}/health")

    def preflight(self) -> dict[str, Any]:
        """Look at everything now: `passed` and `checks`. Takes seconds."""
        return self._lab.request("POST", f"/api/v1/robots/{self.name}/preflight", timeout=120)

    def acknowledge(self, person: str, reason: str) -> dict[str, Any]:
        """Take it out of quarantine: a person's act, after a preflight that passed."""
        body = {"person": person, "reason": reason}
        return self._lab.request("POST", f"/api/v1/robots/{self.name}/acknowledge", json=body)

    def return_to_dock(self, person: str, reason: str) -> dict[str, Any]:
        """Begin its slow way back; say `hold` with the `id` at least once a second, or it stops."""
        body = {"person": person, "reason": reason}
        return self._lab.request("POST", f"/api/v1/robots/{self.name}/return-to-dock", json=body)

    def hold(self, session: str) -> dict[str, Any]:
        """A person still holds the key."""
        return self._lab.request("POST", f"/api/v1/robots/{self.name}/return-to-dock/{session}/hold")

    def returning(self, session: str) -> dict[str, Any]:
        """How a way back goes, or went."""
        return self._lab.request("GET", f"/api/v1/robots/{self.name}/return-to-dock/{session}")


def _refusal(response: httpx.Response) -> LabClientError:
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    detail = problem.get("detail") or f"{response.request.method} {response.url} answered {response.status_code}"
    return LabClientError(str(detail), response.status_code, problem)
