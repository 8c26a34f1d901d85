"""The HTTP connection of a client to a daemon: who one is, what is asked, and refusals as errors."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from labctl.credentials import CredentialsError, find_credentials, split_userinfo

if TYPE_CHECKING:
    import ssl

    import httpx

DEFAULT_URL = "http://127.0.0.1:8470"
# A daemon that is being restarted, or whose database is: nobody answers, or who answers cannot.
AWAY = (0, 502, 503, 504)


class LabClientError(Exception):
    """The daemon refused, or does not answer. `status`: of HTTP, 0 without an answer. `problem`: its document."""

    def __init__(self, detail: str, status: int = 0, problem: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.problem = dict(problem or {})


class LabAddressError(LabClientError):
    """What was given as the daemon's address is none: nobody was asked."""


class Connection:
    """To a lab's daemon. Thread-safe.

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

    def request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """A request of the API. Raises LabClientError when it is refused or nobody answers."""
        document: dict[str, Any] = self.raw(method, path, **options).json()
        return document

    def send(self, method: str, path: str, **options: Any) -> None:
        """A request whose answer says no more than that it was done. Raises as `request` does."""
        self.raw(method, path, **options)

    @contextlib.contextmanager
    def stream(self, method: str, path: str, **options: Any) -> Iterator[Iterator[bytes]]:
        """The bytes of a long answer, as they come. Raises LabClientError, also when it breaks off."""
        import httpx  # noqa: PLC0415 - see above

        try:
            with self.http().stream(method, path, timeout=httpx.Timeout(30, read=None), **options) as response:
                if response.is_error:
                    response.read()
                    raise refusal(response)
                yield response.iter_raw()
        except httpx.TransportError as exc:
            raise LabClientError(f"the daemon at {self.url} broke off: {exc or type(exc).__name__}") from None

    def raw(self, method: str, path: str, **options: Any) -> httpx.Response:
        """An answer as it came. Raises as `request` does."""
        import httpx  # noqa: PLC0415 - takes longer to import than all the rest

        if "params" in options:
            options["params"] = {key: value for key, value in options["params"].items() if value is not None}
        try:
            response = self.http().request(method, path, **options)
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
            raise refusal(response)
        return response

    def http(self) -> httpx.Client:
        """The connections themselves, made when first needed. Raises LabClientError."""
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

    def items(self, path: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The first page of a list."""
        return list(self.request("GET", path, params=dict(params))["items"])

    def pages(self, path: str, params: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """A whole list, page after page."""
        cursor = None
        while True:
            page = self.request("GET", path, params={**(params or {}), "cursor": cursor})
            yield from page["items"]
            if (cursor := page["next"]) is None:
                return


def refusal(response: httpx.Response) -> LabClientError:
    """What an answer that is an error says."""
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    detail = problem.get("detail") or f"{response.request.method} {response.url} answered {response.status_code}"
    return LabClientError(str(detail), response.status_code, problem)
