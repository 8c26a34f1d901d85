"""An outlet or relay with a web interface, as sold for homes and racks.

Tasmota: https://tasmota.github.io/docs/Commands/ (Power<x>). Shelly of the first generation: /relay/<n>; of the second
and later: RPC Switch.Set and Switch.GetStatus (https://shelly-api-docs.shelly.cloud).
"""

from __future__ import annotations

import base64
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from drivers.errors import DeviceError, DeviceUnreachableError, ProtocolError


class Dialect(StrEnum):
    """What the outlet's firmware understands."""

    TASMOTA = "tasmota"
    SHELLY_1 = "shelly1"
    SHELLY_2 = "shelly2"


@dataclass(frozen=True, slots=True)
class HttpOutlet:
    """One socket of an outlet. `url`: of the outlet; `socket` counts from 0; `password`: "" where none is set.

    Tasmota takes name and password as parameters, the others by HTTP's basic authentication.
    """

    url: str
    dialect: Dialect
    socket: int = 0
    user: str = "admin"
    password: str = ""
    timeout_s: float = 5.0

    @property
    def name(self) -> str:
        return f"socket {self.socket} of the outlet {self.url}"

    def on(self) -> None:
        """Switch on. Raises DeviceError unless the outlet says that it is on."""
        self._set(True)

    def off(self) -> None:
        """Switch off. Raises DeviceError unless the outlet says that it is off."""
        self._set(False)

    def state(self) -> bool | None:
        """Whether the outlet says that the socket is on."""
        match self.dialect:
            case Dialect.TASMOTA:
                return self._tasmota("")
            case Dialect.SHELLY_1:
                return self._flag(self._ask(f"/relay/{self.socket}"), "ison")
            case Dialect.SHELLY_2:
                return self._flag(self._ask("/rpc/Switch.GetStatus", id=str(self.socket)), "output")

    def _set(self, wanted: bool) -> None:
        match self.dialect:
            case Dialect.TASMOTA:
                self._tasmota(" On" if wanted else " Off")
            case Dialect.SHELLY_1:
                self._ask(f"/relay/{self.socket}", turn="on" if wanted else "off")
            case Dialect.SHELLY_2:
                self._ask("/rpc/Switch.Set", id=str(self.socket), on="true" if wanted else "false")
        if self.state() is not wanted:
            raise DeviceError(
                f"{self.name} was told to switch {_word(wanted)} and says that it is {_word(not wanted)}; "
                "see whether it is locked, overloaded or switched by a timer"
            )

    def _tasmota(self, what: str) -> bool:
        credentials = {"user": self.user, "password": self.password} if self.password else {}
        answer = self._ask("/cm", cmnd=f"Power{self.socket + 1}{what}", **credentials)
        # With a single relay the answer says POWER, with several POWER1, POWER2 ...
        for key in (f"POWER{self.socket + 1}", *(["POWER"] if self.socket == 0 else [])):
            if answer.get(key) in ("ON", "OFF"):
                return bool(answer[key] == "ON")
        raise ProtocolError(f"{self.name} answers {json.dumps(answer)[:200]}; is there a socket {self.socket}?")

    def _flag(self, answer: dict[str, Any], key: str) -> bool:
        if isinstance(answer.get(key), bool):
            return bool(answer[key])
        raise ProtocolError(f"{self.name} answers {json.dumps(answer)[:200]}, without {key!r}; check the dialect")

    def _ask(self, path: str, **parameters: str) -> dict[str, Any]:
        query = f"?{urllib.parse.urlencode(parameters, quote_via=urllib.parse.quote)}" if parameters else ""
        request = urllib.request.Request(self.url.rstrip("/") + path + query)
        if self.password and self.dialect is not Dialect.TASMOTA:
            token = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            request.add_header("Authorization", f"Basic {token}")
        # No proxy of the environment: the outlet is in the lab's own network.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=self.timeout_s) as response:
                body = response.read(65_536)
        except urllib.error.HTTPError as exc:
            with exc:
                advice = "check user and password" if exc.code in (401, 403) else "check the dialect and the socket"
            raise DeviceError(f"{self.name} refuses {path}: {exc.code} {exc.reason}; {advice}") from exc
        except (OSError, ValueError, http.client.HTTPException) as exc:  # the last: an answer that is no HTTP
            reason = getattr(exc, "reason", exc)
            raise DeviceUnreachableError(
                f"{self.name} does not answer: {reason}; check the address and that it is on the network"
            ) from exc
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ProtocolError(f"{self.name} answers {body[:100]!r}, no JSON object; check the dialect")
        return answer


def _word(on: bool) -> str:
    return "on" if on else "off"
