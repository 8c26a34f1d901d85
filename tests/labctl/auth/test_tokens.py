"""Tokens: their form, what is kept of them, where they come from in a request, and their lives in the store."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from labctl.api.identity import Identify
from labctl.auth import Principal
from labctl.auth.authority import Authority, NoTokenError
from labctl.auth.tokens import Token, presented, without_tokens
from labctl.errors import ConflictError, NotAuthenticatedError, NotFoundError
from labctl.store import Store, Transaction, access
from labctl.store.access_tables import tokens


def issue(store: Store, principal: str = "anna", *, kind: str = "person", **given: object) -> Token:
    token = Token.new()
    wanted = {"administrator": True, "duration_s": None, "note": "", "by": "test", **given}
    store.write(
        lambda transaction: access.issue(
            transaction, token=token.id, hashed=token.hash(), principal=principal, kind=kind, **wanted
        )
    )
    return token


@pytest.fixture
def authority(store: Store) -> Iterator[Authority]:
    made = Authority(store)
    yield made
    made.close()


def test_a_token_is_read_back_from_its_text() -> None:
    token = Token.new()
    assert token.text.startswith(f"labctl_{token.id}_")
    assert len(token.text) == 69
    assert Token.parse(token.text) == token
    assert Token.new().secret != token.secret


@given(st.integers(0, 68), st.sampled_from("0aZ_-"))
def test_a_mistyped_token_is_known_as_such(place: int, typed: str) -> None:
    text = Token("abcdefghijkl", "s" * 43).text
    wrong = text[:place] + typed + text[place + 1 :]
    assert (Token.parse(wrong) is None) is (wrong != text)
    assert Token.parse(text[:-1]) is None


def test_the_secret_is_neither_shown_nor_kept() -> None:
    token = Token.new()
    assert token.secret not in repr(token)
    assert token.secret not in token.hash()
    assert token.matches(token.hash())
    assert not Token.new().matches(token.hash())
    # The hash is bound to the id: in another row it opens nothing.
    assert not Token("0" * 12, token.secret).matches(token.hash())


def test_tokens_in_texts_are_blotted_out() -> None:
    token = Token.new()
    assert without_tokens(f"device:{token.text}!") == f"device:labctl_{token.id}_...!"


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (None, None),
        ("Bearer T", "T"),
        ("bearer  T ", "T"),
        (basic("anna:T"), "T"),
        (basic("T:"), "T"),
        (basic(":T"), "T"),
        (basic("anna:a:b"), "a:b"),
        ("Basic !", ""),
        ("Basic " + base64.b64encode(b"\xff:x").decode(), ""),
        ("Digest x", ""),
        ("", ""),
    ],
)
def test_a_token_comes_as_bearer_or_in_the_user_part_of_the_url(header: str | None, found: str | None) -> None:
    headers = [(b"host", b"lab")] + ([] if header is None else [(b"authorization", header.encode())])
    assert presented(headers) == found


def test_without_tokens_whoever_reaches_the_loopback_is_administrator(authority: Authority, store: Store) -> None:
    assert (authority.identify(None).name, authority.identify(None).administrator) == ("local", True)
    token = issue(store)
    authority.keyring.read()
    with pytest.raises(NotAuthenticatedError, match="asks for a token"):
        authority.identify(None)
    assert str(authority.identify(token.text)) == "person:anna"


def test_to_revoke_the_last_token_does_not_open_the_lab_again(authority: Authority, store: Store) -> None:
    token = issue(store)
    store.write(lambda transaction: access.revoke(transaction, token.id, "it leaked"))
    authority.keyring.read()
    with pytest.raises(NotAuthenticatedError, match="asks for a token"):
        authority.identify(None)
    # A daemon that others reach could let nobody in; and the next token is an administrator's again.
    with pytest.raises(NoTokenError, match="labctl tokens create NAME --administrator"):
        Authority(store, trust_loopback=False)
    with pytest.raises(ConflictError, match="first token must be an administrator's"):
        issue(store, administrator=False)
    fresh = issue(store)
    authority.keyring.read()
    assert authority.identify(fresh.text).administrator


def test_an_expired_token_does_not_open_the_lab_again(store: Store, authority: Authority) -> None:
    token = issue(store, duration_s=0.01)
    authority.keyring.read()
    known = authority.keyring.find(token)
    assert known is not None
    assert known.expires_at is not None
    while time.time() <= known.expires_at:
        time.sleep(0.001)
    with pytest.raises(NotAuthenticatedError, match="has expired"):
        authority.identify(token.text)
    with pytest.raises(NotAuthenticatedError, match="asks for a token"):
        authority.identify(None)


def test_beyond_the_loopback_a_daemon_without_tokens_does_not_start(store: Store) -> None:
    with pytest.raises(NoTokenError, match="labctl tokens create NAME --administrator"):
        Authority(store, trust_loopback=False)
    token = issue(store)
    authority = Authority(store, trust_loopback=False)
    assert authority.identify(token.text).name == "anna"
    store.write(lambda transaction: access.revoke(transaction, token.id, "test"))
    authority.keyring.read()
    with pytest.raises(NotAuthenticatedError):
        authority.identify(None)
    authority.close()


def test_the_first_token_must_be_an_administrators(store: Store) -> None:
    with pytest.raises(ConflictError, match="first token must be an administrator's"):
        issue(store, administrator=False)
    issue(store)
    issue(store, "nightly", kind="ci", administrator=False)
    with pytest.raises(ConflictError, match="known as a ci"):
        issue(store, "nightly", kind="device")


def test_what_is_wrong_with_a_token_is_said(store: Store, authority: Authority) -> None:
    token = issue(store)
    store.write(lambda transaction: access.revoke(transaction, token.id, "test"))
    authority.keyring.read()
    for text, told in ((token.text, "was revoked"), (Token.new().text, "does not know"), ("x", "is no token")):
        with pytest.raises(NotAuthenticatedError, match=told):
            authority.identify(text)
    # The right name with a wrong secret is no more than an unknown one.
    with pytest.raises(NotAuthenticatedError, match="does not know"):
        authority.identify(Token(token.id, Token.new().secret).text)


def test_a_rotated_token_works_for_its_overlap_beside_the_new_one(store: Store, authority: Authority) -> None:
    old, new, third = issue(store, duration_s=1000), Token.new(), Token.new()

    def rotate(transaction: Transaction, before: Token, after: Token, overlap_s: float) -> None:
        access.rotate(transaction, before.id, token=after.id, hashed=after.hash(), overlap_s=overlap_s, by="test")

    store.write(lambda transaction: rotate(transaction, old, new, 500))
    authority.keyring.read()
    assert authority.identify(old.text).name == authority.identify(new.text).name == "anna"
    with store.read() as connection:
        rows = {row.id: row for row in connection.execute(sa.select(tokens))}
    assert rows[old.id].expires_at == pytest.approx(rows[new.id].created_at + 500)
    assert rows[new.id].expires_at == pytest.approx(rows[new.id].created_at + 1000)
    with pytest.raises(ConflictError, match="replaced by"):
        store.write(lambda transaction: rotate(transaction, old, third, 0))
    store.write(lambda transaction: rotate(transaction, new, third, 0))
    authority.keyring.read()
    with pytest.raises(NotAuthenticatedError, match="has expired"):
        authority.identify(new.text)
    assert authority.identify(third.text).administrator
    with pytest.raises(NotFoundError, match="labctl tokens list"):
        store.write(lambda transaction: access.revoke(transaction, "none", "test"))


def test_a_change_by_another_daemon_is_heard_of(store: Store, authority: Authority) -> None:
    token = issue(store)  # as another daemon would: the keyring is not told
    give_up = time.monotonic() + 20
    while authority.keyring.find(token) is None and time.monotonic() < give_up:
        time.sleep(0.01)
    assert authority.identify(token.text).name == "anna"


def test_the_last_use_is_written_down(store: Store) -> None:
    token = issue(store)
    authority = Authority(store)
    authority.identify(token.text)
    authority.close()
    with store.read() as connection:
        row = access.find(connection, token.id)
    assert row.last_used_at == pytest.approx(row.created_at, abs=3600)


def test_a_web_socket_without_a_token_is_closed_before_it_is_open(store: Store, authority: Authority) -> None:
    token = issue(store)
    authority.keyring.read()
    reached: list[Principal] = []
    told: list[Message] = []

    async def inside(scope: Scope, _receive: Receive, _send: Send) -> None:
        reached.append(scope["principal"])

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        told.append(message)

    async def connect(*headers: tuple[bytes, bytes]) -> None:
        scope = {
            "type": "websocket",
            "path": "/webdriver/session/1",
            "headers": list(headers),
            "client": ("192.0.2.1", 1),
        }
        await Identify(inside, authority)(scope, receive, send)

    asyncio.run(connect())
    asyncio.run(connect((b"authorization", b"Bearer x")))
    assert ([each["type"] for each in told], reached) == (["websocket.close"] * 2, [])
    asyncio.run(connect((b"authorization", basic(f"anna:{token.text}").encode())))
    assert [str(each) for each in reached] == ["person:anna"]
