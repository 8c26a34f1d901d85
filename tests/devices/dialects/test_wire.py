"""The bytes that go to old servers, and element references in both protocols."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.dialects.elements import to_w3c, to_wire
from devices.dialects.wire import WireAnswer, WireLink
from devices.webdriver import ELEMENT_KEY
from drivers.errors import ProtocolError


@contextmanager
def answering(*answers: bytes) -> Iterator[tuple[asyncio.AbstractEventLoop, list[bytes], str]]:
    """A server that gives these answers in turn, and the requests as it read them, each read on its own."""
    loop = asyncio.new_event_loop()
    requests: list[bytes] = []
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.read(1 << 16))
        writer.write(left.pop(0))
        await writer.drain()
        writer.close()

    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    host, port = server.sockets[0].getsockname()
    try:
        yield loop, requests, f"http://{host}:{port}"
    finally:
        server.close()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def test_a_request_is_one_write_in_ascii_with_the_length_in_characters() -> None:
    done = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + json.dumps({"status": 0, "value": None}).encode()
    with answering(done) as (loop, requests, url):
        answer = loop.run_until_complete(WireLink(url).call("POST", "/session/S/keys", {"value": ["é", "€"]}))
    head, _, body = requests[0].partition(b"\r\n\r\n")
    assert answer == WireAnswer(200, 0, None)
    assert body == b'{"value": ["\\u00e9", "\\u20ac"]}'
    assert b"\r\nContent-Length: %d\r\n" % len(body) in head + b"\r\n"
    assert b"\r\nConnection: close" in head


def test_answers_end_by_length_by_chunks_or_by_the_connection() -> None:
    document = json.dumps({"sessionId": "S", "status": 7, "value": {"message": "no"}}).encode()
    counted = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(document) + document
    chunked = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(document) + document + b"\r\n0\r\n\r\n"
    )
    closed = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n\xef\xbb\xbf" + document
    with answering(counted, chunked, closed) as (loop, _, url):
        link = WireLink(url)
        answers = [loop.run_until_complete(link.call("GET", "/session/S/title")) for _ in range(3)]
    assert answers == [WireAnswer(200, 7, {"message": "no"}, "S")] * 3


def test_requests_wait_for_each_other() -> None:
    done = b'HTTP/1.1 200 OK\r\n\r\n{"status": 0, "value": 1}'
    with answering(*[done] * 4) as (loop, requests, url):
        link = WireLink(url)

        async def all_at_once() -> list[WireAnswer]:
            return await asyncio.gather(*(link.call("GET", f"/session/S/{number}") for number in range(4)))

        assert [each.value for each in loop.run_until_complete(all_at_once())] == [1] * 4
    assert [request.split()[1] for request in requests] == [b"/session/S/%d" % number for number in range(4)]


def test_plain_text_for_an_unknown_path_is_an_unknown_command() -> None:
    told = b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\nUnknown command http://x/y"
    with answering(told) as (loop, _, url):
        answer = loop.run_until_complete(WireLink(url).call("GET", "/y"))
    assert answer == WireAnswer(404, 9, "Unknown command http://x/y")


def test_an_answer_that_is_no_http_is_told() -> None:
    with answering(b"\x16\x03\x01 what?") as (loop, _, url), pytest.raises(ProtocolError, match=r"broke off|closed"):
        loop.run_until_complete(WireLink(url).call("GET", "/status"))


@pytest.mark.parametrize("url", ["https://127.0.0.1:9999", "127.0.0.1:9999", "http://"])
def test_addresses_that_make_no_sense_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="give http://host:port"):
        WireLink(url)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3),
    max_leaves=8,
)
wire_values = st.recursive(
    plain | st.builds(lambda key: {"ELEMENT": key}, st.text(min_size=1, max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(wire_values)
def test_element_references_are_renamed_at_any_depth_and_back(value: object) -> None:
    translated = to_w3c(value)
    assert keys(translated).isdisjoint({"ELEMENT"})
    assert to_wire(translated) == value


def keys(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(keys, value.values()))
    return set().union(*map(keys, value)) if isinstance(value, list) else set()


def test_element_references_in_lists_and_objects() -> None:
    assert to_w3c([{"ELEMENT": "1"}, {"a": {"ELEMENT": "2"}}]) == [{ELEMENT_KEY: "1"}, {"a": {ELEMENT_KEY: "2"}}]
