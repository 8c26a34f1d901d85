"""Webhooks: signed so that others' libraries check them, in order, tried again until taken, also after a restart."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import standardwebhooks
from typer.testing import CliRunner

from labctl.cli.app import app
from labctl.cli.exits import ExpectedError
from labctl.config import Lab
from labctl.daemon import Daemon, run_daemon
from labctl.store import webhooks as rows
from labctl.webhooks import key_of, new_secret, sign

SECRET = "whsec_" + "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


class Receiver:
    """A server that answers with what it is told to, and keeps what it was sent."""

    def __init__(self) -> None:
        self.got: Queue[tuple[dict[str, str], bytes]] = Queue()
        self.answers: list[int] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {key.lower(): value for key, value in self.headers.items()}
                self.send_response(outer.answers.pop(0) if outer.answers else 204)
                self.send_header("content-length", "0")
                self.end_headers()
                outer.got.put((headers, body))

            def log_message(self, *_arguments: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook?room=1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def next(self) -> tuple[dict[str, str], dict[str, Any]]:
        """The next delivery, checked as its receivers would."""
        headers, body = self.got.get(timeout=60)
        checked = standardwebhooks.Webhook(SECRET).verify(body.decode(), headers)
        return headers, checked

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    started = Receiver()
    yield started
    started.close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "BACK_OFF_S", (0.02, 0.02))


def emit(daemon: Daemon, *kinds: str) -> None:
    for kind in kinds:
        daemon.store.write(lambda transaction, kind=kind: transaction.emit(kind, text="grüße"))


def add(http: httpx.Client, url: str, **more: Any) -> dict[str, Any]:
    answer = http.post("/api/v1/webhooks", json={"url": url, "secret": SECRET, **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_events_come_signed_in_order_and_only_those_wanted(
    daemon: Daemon, http: httpx.Client, receiver: Receiver
) -> None:
    emit(daemon, "before.all")
    webhook = add(http, receiver.url, kinds=["good.*", "one.kind"])
    emit(daemon, "good.one", "bad.one", "one.kind", "good.two")
    got = [receiver.next() for _ in range(3)]
    assert [body["type"] for _, body in got] == ["good.one", "one.kind", "good.two"]
    headers, body = got[0]
    assert body["data"]["text"] == "grüße"
    assert headers["webhook-id"] == f"{webhook['id']}.{body['data']['sequence']}"
    assert len({headers["webhook-id"] for headers, _ in got}) == 3


def test_what_is_not_taken_is_sent_again_with_the_same_id_before_what_came_later(
    daemon: Daemon, http: httpx.Client, receiver: Receiver
) -> None:
    receiver.answers = [500, 302]
    webhook = add(http, receiver.url, kinds=["good.*"])
    emit(daemon, "good.one", "good.two")
    got = [receiver.next() for _ in range(4)]
    assert [body["type"] for _, body in got] == ["good.one", "good.one", "good.one", "good.two"]
    assert len({headers["webhook-id"] for headers, _ in got[:3]}) == 1
    while (shown := http.get(f"/api/v1/webhooks/{webhook['id']}").json())["delivered"] < 2:
        pass
    assert (shown["attempts"], shown["last_error"], shown["given_up"]) == (0, None, 0)


def test_what_is_never_taken_is_given_up_and_said_so(daemon: Daemon, http: httpx.Client, receiver: Receiver) -> None:
    receiver.answers = [500, 500, 500]
    webhook = add(http, receiver.url, kinds=["*"])
    emit(daemon, "good.one", "good.two")
    assert [receiver.next()[1]["type"] for _ in range(4)] == ["good.one"] * 3 + ["good.two"]
    told = http.get("/api/v1/events", params={"limit": 1000}).json()["items"]
    gave_up = [each["data"] for each in told if each["kind"] == "webhook.gave_up"]
    assert [(each["webhook"], each["error"]) for each in gave_up] == [(webhook["id"], "answered 500")]


def test_a_delivery_survives_a_restart_of_the_daemon(
    lab: Lab, tmp_path: Path, database_url: str, receiver: Receiver
) -> None:
    receiver.answers = [503]
    with run_daemon(lab, tmp_path / "data", database_url) as daemon:
        daemon.store.write(lambda transaction: rows.add(transaction, "me", receiver.url, SECRET, kinds=["good.*"]))
        emit(daemon, "good.one")
        receiver.next()
    with run_daemon(lab, tmp_path / "data", database_url):
        assert receiver.next()[1]["type"] == "good.one"


def test_a_server_that_is_away_hears_of_everything_when_it_is_back(
    daemon: Daemon, http: httpx.Client, monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    monkeypatch.setattr(rows, "BACK_OFF_S", (0.02,) * 5000)
    away = Receiver()
    away.close()
    webhook = add(http, away.url, kinds=["good.*"])
    emit(daemon, "good.one")
    while "no answer" not in str(http.get(f"/api/v1/webhooks/{webhook['id']}").json()["last_error"]):
        pass
    moved = rows.webhooks.update().values(url=receiver.url)
    daemon.store.write(lambda transaction: transaction.execute(moved))
    assert receiver.next()[1]["type"] == "good.one"


def test_a_secret_is_made_where_none_is_given_and_shown_only_then(http: httpx.Client) -> None:
    answer = http.post("/api/v1/webhooks", json={"url": "http://192.0.2.1/"}).json()
    assert len(key_of(answer["secret"])) == 32
    everything = [http.get(path).text for path in ("/api/v1/webhooks", f"/api/v1/webhooks/{answer['id']}")]
    everything.append(http.get("/api/v1/events", params={"limit": 1000}).text)
    assert not any(answer["secret"] in each for each in everything)
    assert http.delete(f"/api/v1/webhooks/{answer['id']}").status_code == 204
    assert http.get("/api/v1/webhooks").json()["items"] == []


@pytest.mark.parametrize(
    "body",
    [
        {"url": "ftp://192.0.2.1/"},
        {"url": "http://"},
        {"url": "http://192.0.2.1/", "kinds": []},
        {"url": "http://192.0.2.1/", "kinds": ["jobs"]},
        {"url": "http://192.0.2.1/", "secret": "whsec_c2hvcnQ="},
        {"url": "http://192.0.2.1/", "secret": "secret"},
    ],
)
def test_what_cannot_be_told_is_refused(http: httpx.Client, body: dict[str, Any]) -> None:
    assert http.post("/api/v1/webhooks", json=body).status_code == 422


def test_a_webhook_is_tried_from_the_command_line(daemon: Daemon, url: str, receiver: Receiver) -> None:
    """Made, tested, looked at and ended; what was given up is sent again."""

    def labctl(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["webhooks", *words, "--url", url])
        if isinstance(done.exception, ExpectedError):
            raise done.exception
        return done.exit_code, done.output if "--json" not in words else done.stdout

    def deliveries() -> list[tuple[str, str, str | None]]:
        shown = json.loads(labctl("deliveries", webhook, "--json")[1])
        return [(each["kind"], each["state"], each["error"]) for each in shown]

    status, said = labctl("add", receiver.url, "--kind", "good.*", "--json")
    made = json.loads(said)
    webhook = made["id"]
    assert (status, made["kinds"], len(key_of(made["secret"]))) == (0, ["good.*"], 32)
    assert made["secret"] not in labctl()[1]

    status, said = labctl("test", webhook)
    headers, body = receiver.got.get(timeout=60)
    assert (status, json.loads(body)["type"]) == (0, "webhook.test")
    assert standardwebhooks.Webhook(made["secret"]).verify(body.decode(), headers)
    receiver.answers = [418]
    status, said = labctl("test", webhook)
    assert (status, "answered 418" in said) == (3, True)

    receiver.answers = [500, 500, 500]
    emit(daemon, "good.one", "good.two")
    while [each[1] for each in deliveries()] != ["delivered", "given_up"]:
        pass
    assert deliveries() == [("good.two", "delivered", None), ("good.one", "given_up", "answered 500")]
    lost = json.loads(labctl("deliveries", webhook, "--json")[1])[1]["event"]
    assert labctl("retry", webhook, str(lost))[0] == 0
    assert deliveries()[1] == ("good.one", "delivered", None)
    with pytest.raises(ExpectedError, match=f"event {lost - 1} is none"):
        labctl("retry", webhook, str(lost - 1))

    assert labctl("remove", webhook)[0] == 0
    assert "nobody is told of anything" in labctl()[1]
    with pytest.raises(ExpectedError, match="there is no webhook"):
        labctl("test", webhook)


def test_what_waits_is_tried_at_once_when_asked_for(
    daemon: Daemon, http: httpx.Client, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "BACK_OFF_S", (3600.0,))
    receiver.answers = [503]
    webhook = add(http, receiver.url, kinds=["good.*"])["id"]
    emit(daemon, "good.one", "good.two")
    receiver.next()
    path = f"/api/v1/webhooks/{webhook}"
    while not (waiting := http.get(path).json())["attempts"]:
        pass
    found = http.get(f"{path}/deliveries").json()["items"]
    assert [(each["state"], each["attempts"]) for each in found] == [("waiting", None), ("retrying", 1)]
    assert (found[1]["error"], found[1]["next_at"]) == ("answered 503", waiting["next_at"])
    assert http.post(f"{path}/retry").json()["next_at"] is None
    assert [receiver.next()[1]["type"] for _ in range(2)] == ["good.one", "good.two"]


def test_a_signature_is_that_of_the_specification() -> None:
    secret = new_secret()
    body = json.dumps({"type": "x"}).encode()
    signature = sign(secret, "msg_1", 1_700_000_000, body)
    other = standardwebhooks.Webhook(secret)
    assert other.sign("msg_1", datetime.fromtimestamp(1_700_000_000, UTC), body.decode()) == signature


def test_a_receiver_whose_answer_never_ends_has_taken_the_event(daemon: Daemon, http: httpx.Client) -> None:
    over = threading.Event()

    class Talker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):  # until nobody listens
                while not over.is_set():
                    self.wfile.write(b"and so on" * 1000)

        def log_message(self, *_arguments: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Talker)
    threading.Thread(target=server.serve_forever, args=(0.05,)).start()
    try:
        webhook = add(http, f"http://127.0.0.1:{server.server_port}/", kinds=["good.*"])
        emit(daemon, "good.one", "good.two")
        seen = 0
        for _ in range(400):
            if (delivered := http.get(f"/api/v1/webhooks/{webhook['id']}").json()["delivered"]) == 2:
                break
            seen = daemon.store.bell.wait(seen, 0.05)
        assert delivered == 2
    finally:
        over.set()
        server.shutdown()
        server.server_close()


def test_a_disk_that_is_full_is_not_asked_again_and_again(
    daemon: Daemon, http: httpx.Client, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(http, receiver.url, kinds=["good.*"])
    asked: Queue[str] = Queue()

    def full(_transaction: Any, webhook: str) -> None:
        asked.put(webhook)
        raise sa.exc.OperationalError("UPDATE", {}, Exception("database or disk is full"))

    monkeypatch.setattr("labctl.webhooks._AGAIN_S", 60.0)
    monkeypatch.setattr(rows, "claim", full)
    emit(daemon, "good.one")
    asked.get(timeout=60)
    emit(daemon, *["bad.one"] * 20)  # each wakes who looks for what is due
    assert asked.empty()
