"""Connections to targets: kept and reused, never shared, dropped when something was left unread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from _webdriver_target import TrivialTarget, in_thread, raw
from _webdriver_target import http as response_of

from devices.hub import Call, Target, TargetError
from devices.hub.upstream import WHOLE_UP_TO, Client

LARGE = b"x" * (WHOLE_UP_TO * 3)


@pytest.fixture
def server():
    """A target in the test's own loop, with what counts its connections."""
    return Counting()


class Counting(TrivialTarget):
    connections = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await super()._serve(reader, writer)


def talk(server, work):
    """Run a conversation with the server in one loop."""

    async def all_of_it():
        await server.start()
        client = Client()
        try:
            return await work(client.upstream(Target(server.url)))
        finally:
            await client.close()
            await server.stop()
            # What was cut comes to its end.
            rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            await asyncio.gather(*rest, return_exceptions=True)

    return asyncio.run(all_of_it())


def test_a_connection_is_kept_from_command_to_command(server):
    async def work(upstream):
        for _ in range(20):
            assert (await upstream.exchange(Call("GET", "/status"), 10)).status == 200

    talk(server, work)
    assert server.connections == 1


def test_commands_side_by_side_have_one_each_and_their_own_answers(server):
    for number in range(10):
        server.scripted[f"GET /{number}"] = raw(response_of(b"%d" % number * 1000))

    async def work(upstream):
        session = "s" * 32
        server.sessions.add(session)
        for _ in range(3):
            calls = [upstream.exchange(Call("GET", f"/session/{session}/{n}"), 10) for n in range(10)]
            answers = await asyncio.gather(*calls)
            assert [each.body for each in answers] == [b"%d" % n * 1000 for n in range(10)]

    talk(server, work)
    assert server.connections == 10


def test_a_stream_that_was_read_leaves_its_connection_to_others(server):
    server.scripted["GET /status"] = raw(response_of(LARGE))

    async def work(upstream):
        for _ in range(3):
            reply = await upstream.exchange(Call("GET", "/status"), 10)
            assert b"".join([chunk async for chunk in reply.body]) == LARGE
            reply.close()

    talk(server, work)
    assert server.connections == 1


def test_a_stream_that_was_not_read_is_cut(server):
    server.scripted["GET /status"] = raw(response_of(LARGE))

    async def work(upstream):
        reply = await upstream.exchange(Call("GET", "/status"), 10)
        assert not isinstance(reply.body, bytes)
        reply.close()
        server.scripted.clear()
        assert (await upstream.exchange(Call("GET", "/status"), 10)).status == 200

    talk(server, work)
    assert server.connections == 2


def test_a_late_close_harms_no_later_command(server):
    async def work(upstream):
        first = await upstream.exchange(Call("GET", "/status"), 10)
        second = asyncio.ensure_future(upstream.exchange(Call("GET", "/status"), 10))
        await asyncio.sleep(0)
        first.close()
        assert (await second).status == 200

    talk(server, work)


def test_an_interim_answer_is_passed_over(server):
    server.scripted["GET /status"] = raw(b"HTTP/1.1 102 Processing\r\n\r\n" + response_of(b"{}"))

    async def work(upstream):
        reply = await upstream.exchange(Call("GET", "/status"), 10)
        assert (reply.status, reply.body) == (200, b"{}")

    talk(server, work)


def test_header_values_of_any_bytes_pass(server):
    odd = b"caf\xe9 \xff \xc3\xa9"
    server.scripted["GET /status"] = raw(b"HTTP/1.1 200 OK\r\nX-Odd: " + odd + b"\r\nContent-Length: 0\r\n\r\n")

    async def work(upstream):
        reply = await upstream.exchange(Call("GET", "/status", ((b"x-odd", odd),)), 10)
        assert (b"X-Odd", odd) in reply.headers

    talk(server, work)
    assert server.requests[0].header(b"x-odd") == odd


def test_credentials_of_the_address_are_shown_to_the_target_and_to_nobody_else(server):
    async def work(upstream):
        client = Client()
        own = client.upstream(Target(server.url.replace("//", "//me:s%20cret@") + "/wd/hub"))
        await own.exchange(Call("POST", "/session"), 10)
        await client.close()
        with pytest.raises(TargetError) as caught:
            await own_of(server.port + 1).exchange(Call("GET", "/status"), 10)
        assert "cret" not in str(caught.value)

    def own_of(port):
        return Client().upstream(Target(f"http://me:secret@127.0.0.1:{port}"))

    talk(server, work)
    assert server.requests[0].path == "/wd/hub/session"
    assert server.requests[0].header(b"authorization") == b"Basic bWU6cyBjcmV0"
    assert server.requests[0].header(b"content-length") == b"0"


def test_a_stream_up_that_breaks_off_breaks_the_command(server):
    async def half() -> AsyncIterator[bytes]:
        yield b"x" * 10
        raise RuntimeError("the client is gone")

    async def work(upstream):
        with pytest.raises(RuntimeError):
            await upstream.exchange(Call("POST", "/session", body=half(), length=100), 10)
        assert (await upstream.exchange(Call("GET", "/status"), 10)).status == 200

    talk(server, work)
    assert server.commands() == ["GET /status"]


def test_a_kept_connection_that_was_closed_meanwhile_is_not_used(monkeypatch):
    """Nor where the hub was too busy to hear of it, as here, where its loop stands still while the target closes."""
    monkeypatch.setattr("devices.hub.upstream._SURE_S", 0.0)
    target = Counting()

    async def close_all():
        for writer in tuple(target._writers):
            writer.close()
            await writer.wait_closed()

    async def work(run):
        client = Client()
        upstream = client.upstream(Target(target.url))
        assert (await upstream.exchange(Call("POST", "/session", (), b"{}"), 10)).status == 200
        run(close_all())
        assert (await upstream.exchange(Call("POST", "/session", (), b"{}"), 10)).status == 200
        await client.close()

    with in_thread(target) as run:
        asyncio.run(work(run))
    assert target.connections == 2
