"""`labctl tokens`, `policy`, `audit`, `login`, `logout` and `whoami`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labctl.cli.connecting import connected
from labctl.cli.exits import FAILED, PASSED, USAGE, ExpectedError
from labctl.cli.output import note, print_json, print_table
from labctl.client import Lab
from labctl.credentials import Credentials, CredentialsError, keep_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labctl.auth.principals import Principal
    from labctl.store import Store

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}


def duration(text: str) -> float | None:
    """ "90d", "12h", "30m" in seconds; None for "never"."""
    if text == "never":
        return None
    found = re.fullmatch(r"(\d{1,6})([smhdwy])", text)
    if found is None or int(found[1]) == 0:
        raise ExpectedError(f"{text!r} is no duration: write one such as 90d, 12h or 30m, or never", USAGE)
    return float(int(found[1]) * _UNITS_S[found[2]])


# Tokens


def list_tokens(url: str | None, principal: str | None, *, as_json: bool) -> int:
    """List tokens; none of their secrets is known to anybody."""
    with connected(url) as lab:
        items = lab.request("GET", "/api/v1/tokens", params={"principal": principal, "limit": 1000})["items"]
    if as_json:
        print_json(items)
        return PASSED
    columns = ("token", "principal", "kind", "rights", "state", "expires", "last used", "note")
    print_table(columns, [_token_row(each) for each in items], "the lab has issued no tokens")
    return PASSED


def create_token(
    url: str | None, wanted: dict[str, Any], data: Path | None, database: str | None, *, as_json: bool
) -> int:
    """Issue a token; with `data` directly in the folder of a daemon that is not running."""
    if data is not None:
        issued = _create_offline(wanted, data, database)
    else:
        with connected(url) as lab:
            issued = lab.request("POST", "/api/v1/tokens", json=wanted)
    return _show_issued(issued, as_json)


def rotate_token(url: str | None, token: str, overlap_s: float, *, as_json: bool) -> int:
    """Put a new token in the place of one."""
    with connected(url) as lab:
        issued = lab.request("POST", f"/api/v1/tokens/{token}/rotate", json={"overlap_s": overlap_s})
    return _show_issued(issued, as_json)


def revoke_token(url: str | None, token: str) -> int:
    """Let a token work no more."""
    with connected(url) as lab:
        ended = lab.request("DELETE", f"/api/v1/tokens/{token}")
    note(f"token {token} of {ended['principal']} is revoked")
    return PASSED


# Policies


def explain_decision(
    url: str | None, files: list[Path], question: dict[str, str | None], labels: list[str], *, as_json: bool
) -> int:
    """Say which statement decides; exit 0 when allowed, 1 when denied."""
    if files:
        told = _explain_files(files, question, labels)
    else:
        with connected(url) as lab:
            told = lab.request("GET", "/api/v1/policies/explain", params={**question, "label": labels})
    if as_json:
        print_json(told)
    else:
        _print_explanation(told)
    return PASSED if told["allowed"] else FAILED


def check_policies(files: list[Path], *, as_json: bool) -> int:
    """Say what is wrong with policy files; exit 2 when they cannot be used."""
    from drivers.documents import DocumentError
    from labctl.auth.checking import remarks
    from labctl.auth.documents import read_policies

    try:
        policies = read_policies(files)
    except DocumentError as exc:
        raise ExpectedError(str(exc), USAGE) from None
    found = remarks(policies)
    if as_json:
        print_json({"statements": len(policies.statements), "version": policies.version, "remarks": found})
        return PASSED
    for remark in found:
        note(remark)
    print(f"{len(policies.statements)} statements in {len(policies.sources)} files can be used")
    return PASSED


def show_policies(url: str | None, *, as_json: bool) -> int:
    """The statements in force."""
    with connected(url) as lab:
        shown = lab.request("GET", "/api/v1/policies")
    return _print_policies(shown, as_json)


def reload_policies(url: str | None, *, as_json: bool) -> int:
    """Let the daemon read its policy files again."""
    with connected(url) as lab:
        shown = lab.request("POST", "/api/v1/policies/reload")
    return _print_policies(shown, as_json)


# The audit log


def list_audit(url: str | None, filters: dict[str, Any], count: int, *, as_json: bool) -> int:
    """The newest decisions."""
    with connected(url) as lab:
        items = lab.request("GET", "/api/v1/audit", params={**filters, "limit": count})["items"]
    if as_json:
        print_json(items)
        return PASSED
    rows = [
        (each["time"], each["principal"], each["action"], each["resource"], _word(each["allowed"]), each["statement"])
        for each in items
    ]
    print_table(("time", "principal", "action", "resource", "decision", "statement"), rows, "nothing was decided yet")
    return PASSED


def verify_audit(url: str | None, known: str | None, *, as_json: bool) -> int:
    """Whether the log is whole; exit 1 when it is not."""
    with connected(url) as lab:
        told = lab.request("GET", "/api/v1/audit/verify", params={"known": known}, timeout=600)
    if as_json:
        print_json(told)
    elif told["problem"]:
        print(f"BROKEN after {told['rows']} rows: {told['problem']}")
    else:
        print(f"whole: {told['rows']} rows. Note the head down elsewhere, and give it next time with --known:")
        print(told["head"])
    return FAILED if told["problem"] else PASSED


# Who one is


def log_in(url: str | None, ca: Path | None) -> int:
    """Keep a token for a daemon in the user's own file, once the daemon has taken it."""
    token = _ask_for_token()
    authority = None if ca is None else str(ca.resolve())
    with connected(url, token, authority) as lab:
        me = lab.request("GET", "/api/v1/whoami")
        address = lab.url
    try:
        path = keep_credentials(address, Credentials(token, authority))
    except CredentialsError as exc:
        raise ExpectedError(str(exc)) from None
    note(f"you are {me['kind']}:{me['name']} at {address}; the token is kept in {path}")
    return PASSED


def log_out(url: str | None) -> int:
    """Forget the token for a daemon."""
    with Lab(url) as lab:
        address = lab.url
    try:
        keep_credentials(address, None)
    except CredentialsError as exc:
        raise ExpectedError(str(exc)) from None
    note(f"the token for {address} is forgotten here; it goes on working until it is revoked")
    return PASSED


def who_am_i(url: str | None, *, as_json: bool) -> int:
    """Whom the daemon takes one for."""
    with connected(url) as lab:
        me = lab.request("GET", "/api/v1/whoami")
    if as_json:
        print_json(me)
    else:
        print(f"{me['kind']}:{me['name']}" + (", administrator" if me["administrator"] else ""))
    return PASSED


def _ask_for_token() -> str:
    if sys.stdin.isatty():
        import getpass

        token = getpass.getpass("token: ").strip()
    else:
        token = sys.stdin.readline().strip()
    if not token:
        raise ExpectedError("no token was given; paste it, or send it to standard input", USAGE)
    return token


def _create_offline(wanted: dict[str, Any], data: Path, database: str | None) -> dict[str, Any]:
    from labctl.auth.tokens import Token
    from labctl.config.model import NAME
    from labctl.store import access

    if not NAME.match(wanted["principal"]):
        raise ExpectedError(f"{wanted['principal']!r} is no name: lower-case letters, digits, dots and dashes", USAGE)
    token = Token.new()
    with _store(data, database) as store:
        store.write(
            lambda transaction: access.issue(
                transaction, token=token.id, hashed=token.hash(), by="the data folder's owner", **wanted
            )
        )
    return {"id": token.id, "token": token.text, **wanted}


@contextmanager
def _store(data: Path, database: str | None) -> Iterator[Store]:
    from labctl.errors import LabError
    from labctl.store import open_store
    from labctl.store.database import StoreError

    try:
        store = open_store(data, database)
    except StoreError as exc:
        raise ExpectedError(f"{exc} (without --data the running daemon is asked)", USAGE) from None
    try:
        yield store
    except LabError as exc:
        raise ExpectedError(exc.detail, USAGE) from None
    finally:
        store.close()


def _show_issued(issued: dict[str, Any], as_json: bool) -> int:
    if as_json:
        print_json(issued)
        return PASSED
    print(issued["token"])
    note(f"token {issued['id']} of {issued['kind']}:{issued['principal']}; its text is shown this once. `labctl login`")
    note("keeps it for you; a program takes it from LABCTL_TOKEN, or from the URL http://user:TOKEN@host/")
    return PASSED


def _token_row(token: dict[str, Any]) -> tuple[object, ...]:
    state = "in force"
    if token["revoked_at"]:
        state = "revoked"
    elif token["expires_at"] and datetime.fromisoformat(token["expires_at"]).timestamp() <= _now():
        state = "expired"
    elif token["replaced_by"]:
        state = "being replaced"
    rights = "administrator" if token["administrator"] else "by policies"
    until = token["expires_at"] or "never"
    return (token["id"], token["principal"], token["kind"], rights, state, until, token["last_used_at"], token["note"])


def _now() -> float:
    import time

    return time.time()


def _explain_files(files: list[Path], question: dict[str, str | None], given: list[str]) -> dict[str, Any]:
    from dataclasses import asdict

    from drivers.documents import DocumentError
    from labctl.auth.documents import read_policies
    from labctl.auth.explaining import explain
    from labctl.auth.principals import Resource

    kind, colon, name = (question["resource"] or "").partition(":")
    if not colon:
        raise ExpectedError("a resource is KIND:NAME, such as device:robot-1", USAGE)
    try:
        policies = read_policies(files)
        at = _now() if question["at"] is None else datetime.fromisoformat(question["at"]).timestamp()
    except (DocumentError, ValueError) as exc:
        raise ExpectedError(str(exc), USAGE) from None
    labels = {key: value for key, equals, value in (each.partition("=") for each in given) if equals}
    who = _principal(question["principal"] or "")
    told = explain(policies, who, question["action"] or "", Resource(kind, name, question["owner"], labels), at)
    return {
        "principal": str(who),
        "action": question["action"],
        "resource": question["resource"],
        "allowed": told.decision.allowed,
        "statement": told.decision.statement,
        "version": told.decision.version,
        "considered": [asdict(each) for each in told.considered],
        "near_misses": list(told.near_misses),
    }


def _principal(text: str) -> Principal:
    from labctl.auth.principals import KINDS, Principal

    kind, colon, name = text.partition(":")
    if colon and kind not in KINDS:
        raise ExpectedError(f"{kind!r} is no kind of principal; they are {', '.join(KINDS)}", USAGE)
    return Principal(name if colon else text, kind if colon else "person")


def _print_explanation(told: dict[str, Any]) -> None:
    print(f"{_word(told['allowed']).upper()}: {told['principal']} {told['action']} {told['resource']}")
    print(f"decided by {told['statement']}")
    for each in told["considered"]:
        held = "holds" if each["holds"] else "its conditions do not hold"
        conditions = f" when {each['conditions']}" if each["conditions"] else ""
        print(f"  {each['effect']:5} {each['where']}{conditions}: {held}")
    for miss in told["near_misses"]:
        print(f"  {miss}")


def _print_policies(shown: dict[str, Any], as_json: bool) -> int:
    if as_json:
        print_json(shown)
        return PASSED
    joined: Callable[[list[str]], str] = ", ".join
    rows = [
        (each["where"], each["effect"], joined(each["principals"]), joined(each["actions"]), joined(each["resources"]))
        for each in shown["items"]
    ]
    print_table(("statement", "effect", "principals", "actions", "resources"), rows, "the lab has no policies")
    return PASSED


def _word(allowed: bool) -> str:
    return "allowed" if allowed else "denied"
