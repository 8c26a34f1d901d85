"""WebDriver sessions in the lab: leased, in the history, ended from outside, within jobs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import sqlalchemy as sa
from _webdriver_target import answer

from devices.hub.capabilities import process
from devices.webdriver import WebDriverError
from labctl.auth import LOCAL_ADMINISTRATOR
from labctl.cli.exits import ExpectedError
from labctl.cli.sessions import end_session, show_sessions
from labctl.errors import LabFailureError, UnavailableError
from labctl.steps import Outcome, Verdict
from labctl.store import running
from labctl.store.tables import runs
from labctl.webdriver import StepSessions
from labctl.webdriver.gate import Asker


def devices(http):
    return {each["name"]: each for each in http.get("/api/v1/devices").json()["items"]}


def refused(http, **capabilities):
    response = http.post("/webdriver/session", json={"capabilities": {"alwaysMatch": capabilities}})
    assert response.status_code == 500
    assert response.json()["value"]["error"] == "session not created"
    return response.json()["value"]


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_a_session_holds_its_device_and_leaves_a_run(begin, http, ended, target):
    value = begin(browserName="trivial", **{"lab:device": "left"})
    told = value["capabilities"]
    assert told["lab:device"] == "left"
    assert devices(http)["left"]["lease"]["id"] == told["lab:lease"]
    shown = http.get("/api/v1/webdriver/sessions").json()["items"]
    assert [(each["id"], each["device"], each["run"]) for each in shown] == [
        (value["sessionId"], "left", told["lab:run"])
    ]

    assert http.get(f"/webdriver/session/{value['sessionId']}/title").json() == {"value": None}
    assert http.delete(f"/webdriver/session/{value['sessionId']}").status_code == 200

    assert devices(http)["left"]["lease"] is None  # at once: whoever quits may ask again
    run = ended(told["lab:run"])
    assert (run["verdict"], run["reason"]) == ("passed", "its client ended the session")
    assert [each["name"] for each in run["artifacts"]] == ["commands.jsonl"]
    log = http.get(run["artifacts"][0]["href"]).text.splitlines()
    assert json.loads(log[1])["path"] == "/title"
    job = http.get(f"/api/v1/jobs/{told['lab:job']}").json()
    assert (job["name"], job["state"], job["verdict"]) == ("WebDriver session on left", "finished", "passed")
    assert job["document"]["webdriver"] == [{"browserName": "trivial"}]
    kinds = [each["kind"] for each in http.get("/api/v1/events", params={"run": run["id"]}).json()["items"]]
    assert kinds == ["run.started", "webdriver.opened", "webdriver.closed", "run.artifact", "run.finished"]


def test_the_token_in_the_address_that_selenium_tells_is_kept_nowhere(begin, http, ended):
    address = "http://anna:secret-token@lab.example/webdriver"
    value = begin(**{"lab:device": "left", "se:remoteUrl": address})
    told = value["capabilities"]
    http.delete(f"/webdriver/session/{value['sessionId']}")
    (log,) = ended(told["lab:run"])["artifacts"]
    for place in (log["href"], f"/api/v1/jobs/{told['lab:job']}"):
        assert "secret-token" not in http.get(place).text


@pytest.fixture
def short_leases(monkeypatch):
    """Sessions hold leases of a second. The database's clock counts them; nothing here waits for a time of its own."""
    monkeypatch.setattr("labctl.webdriver.placing.LEASE_S", 1.0)
    monkeypatch.setattr("labctl.webdriver.service.LEASE_S", 3.0)
    monkeypatch.setattr("labctl.webdriver.service._RENEW_EVERY_S", 0.05)


def test_the_device_is_held_however_long_its_target_takes_to_begin(short_leases, begin, http, target, until):
    began = threading.Event()

    async def slow(writer):
        while not began.is_set():
            await asyncio.sleep(0.01)
        target.sessions.add("a-session-that-took-long")
        await answer({"sessionId": "a-session-that-took-long", "capabilities": {"browserName": "trivial"}})(writer)

    target.scripted["POST /session"] = slow
    values = []
    beginning = threading.Thread(target=lambda: values.append(begin(**{"lab:device": "left"})))
    beginning.start()
    lease = until(lambda: devices(http)["left"]["lease"])
    renewed = until(lambda: _later_than(http.get(f"/api/v1/leases/{lease['id']}").json(), lease["expires_at"]))
    assert renewed["state"] == "active"
    began.set()
    beginning.join(30)
    assert values[0]["capabilities"]["lab:lease"] == lease["id"]
    assert http.delete(f"/webdriver/session/{values[0]['sessionId']}").status_code == 200
    assert devices(http)["left"]["lease"] is None


def _later_than(lease, expires_at):
    return lease if lease["state"] != "active" or lease["expires_at"] > expires_at else None


def test_the_hub_says_whether_it_has_a_device_to_give(begin, http):
    held = [begin(**{"lab:device": name}) for name in ("left", "right", "phone")]
    assert http.get("/status").json()["value"]["ready"] is True
    held.append(begin(**{"lab:device": "own"}))
    assert http.get("/webdriver/status").json()["value"]["ready"] is False
    http.delete(f"/webdriver/session/{held[1]['sessionId']}")
    assert http.get("/status").json()["value"]["ready"] is True


def test_it_answers_at_the_root_for_clients_that_take_no_path(http):
    value = http.post("/session", json={"capabilities": {"alwaysMatch": {"lab:device": "left"}}}).json()["value"]
    path = f"/session/{value['sessionId']}"
    assert http.get(f"{path}/title").json() == http.get(f"/webdriver{path}/title").json() == {"value": None}
    assert http.get(f"/wd/hub{path}/title").json() == {"value": None}
    assert http.delete(path).status_code == 200
    assert http.get("/sessions").status_code == 404


def test_labels_and_first_match_choose_the_device(begin, http, target):
    assert begin(**{"lab:labels": {"side": "left"}})["capabilities"]["lab:device"] == "left"
    choices = [{"platformName": "iOS"}, {"platformName": "Android"}, {"browserName": "trivial"}]
    response = http.post("/webdriver/session", json={"capabilities": {"firstMatch": choices}})
    assert response.json()["value"]["capabilities"]["lab:device"] == "phone"
    created = [each for each in target.requests if (each.method, each.path) == ("POST", "/session")][-1]
    assert json.loads(created.body) == {
        "capabilities": {"alwaysMatch": {"appium:udid": "77", "platformName": "Android"}, "firstMatch": [{}]}
    }


def test_what_no_device_offers_is_refused_with_what_each_lacks(http):
    message = refused(http, browserName="netscape")["message"]
    assert "phone: it has no browserName, and 'netscape' is asked for" in message
    assert "own: browserName is 'own', not 'netscape'" in message
    assert "there is no device 'lefft'" in refused(http, **{"lab:device": "lefft"})["message"]
    assert (
        "left: side is not right" in refused(http, **{"lab:device": "left", "lab:labels": {"side": "right"}})["message"]
    )


def test_a_target_that_refuses_leaves_an_errored_run_and_a_free_device(http, target, until):
    target.scripted["POST /session"] = answer({"error": "session not created", "message": "no display"}, 500)
    error = refused(http, **{"lab:device": "left"})
    assert error["message"] == "left: no display"
    assert devices(http)["left"]["lease"] is None
    run = until(lambda: [each for each in http.get("/api/v1/runs").json()["items"] if each["verdict"]])[0]
    assert (run["verdict"], run["reason"]) == ("errored", "left: no display")


class TestTheQueue:
    def test_who_waits_is_seen_with_the_reason_and_is_next(self, begin, http, until):
        first = begin(**{"lab:device": "left"})
        got = []
        second = threading.Thread(target=lambda: got.append(begin(**{"lab:device": "left"})))
        second.start()

        def waiting():
            items = http.get("/api/v1/webdriver/queue").json()["items"]
            return items if items and "held" in items[0]["reason"] else None

        item = until(waiting)[0]
        assert (item["owner"], item["wanted"]) == ("local", "device=left")
        assert item["reason"] == "left is held by local"
        http.delete(f"/webdriver/session/{first['sessionId']}")
        second.join(30)
        assert got[0]["capabilities"]["lab:device"] == "left"

    def test_who_waited_in_vain_hears_who_holds_the_device(self, begin, http):
        begin(**{"lab:device": "left"})
        error = refused(http, **{"lab:device": "left", "lab:queueTimeout": 0.3})
        assert "no device became free within 0.3 s: left is held by local" in error["message"]
        assert [each["state"] for each in http.get("/api/v1/leases").json()["items"]] == ["active"]

    def test_any_device_that_would_do_is_taken(self, begin):
        taken = [begin(browserName="trivial")["capabilities"]["lab:device"] for _ in range(2)]
        assert sorted(taken) == ["left", "right"]


class TestOnALeaseOfOnesOwn:
    @pytest.fixture
    def lease(self, http):
        return http.post("/api/v1/leases", json={"devices": ["left"], "duration_s": 60}).json()["id"]

    @pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
    def test_the_lease_outlives_the_session(self, begin, http, ended, lease):
        value = begin(**{"lab:lease": lease})
        assert value["capabilities"]["lab:device"] == "left"
        http.delete(f"/webdriver/session/{value['sessionId']}")
        assert ended(value["capabilities"]["lab:run"])["verdict"] == "passed"
        assert http.get(f"/api/v1/leases/{lease}").json()["state"] == "active"

    def test_a_second_session_on_the_device_is_refused(self, begin, http, lease):
        begin(**{"lab:lease": lease})
        assert "there is a session already" in refused(http, **{"lab:lease": lease})["message"]

    def test_of_many_asked_for_at_once_the_device_takes_one(self, lease, url):
        everybody = threading.Barrier(8)

        def ask(_):
            with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
                everybody.wait(30)
                wanted = {"capabilities": {"alwaysMatch": {"lab:lease": lease, "browserName": "trivial"}}}
                return client.post("/webdriver/session", json=wanted)

        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(ask, range(8)))
        assert sorted(each.status_code for each in answers) == [200] + [500] * 7
        told = {each.json()["value"].get("message") for each in answers} - {None}
        assert told == {"left: there is a session already, and the device takes one; end that one first"}

    def test_a_lease_without_such_a_device_is_refused(self, http, lease):
        message = refused(http, **{"lab:lease": lease, "platformName": "Android"})["message"]
        assert "holds no device that would do; it holds left" in message
        assert "there is no lease 'x'" in refused(http, **{"lab:lease": "x"})["message"]

    def test_its_end_ends_the_session(self, begin, http, ended, target, lease):
        value = begin(**{"lab:lease": lease})
        http.delete(f"/api/v1/leases/{lease}", params={"reason": "enough"})
        run = ended(value["capabilities"]["lab:run"])
        assert (run["verdict"], run["reason"]) == ("cancelled", "its lease ended: enough")
        assert target.commands()[-2:] == ["DELETE /session/*/actions", "DELETE /session/*"]

    def test_its_end_while_a_session_begins_leaves_none(self, http, url, target, until, lease):
        asked, go = threading.Event(), threading.Event()

        async def slow(writer):
            asked.set()
            await asyncio.to_thread(go.wait, 30)
            target.sessions.add("a-session-that-took-long")
            await answer({"sessionId": "a-session-that-took-long", "capabilities": {"browserName": "trivial"}})(writer)

        target.scripted["POST /session"] = slow
        answers = []
        wanted = {"capabilities": {"alwaysMatch": {"lab:lease": lease}}}
        beginning = threading.Thread(
            target=lambda: answers.append(httpx.post(f"{url}/webdriver/session", json=wanted, timeout=60).json())
        )
        beginning.start()
        assert asked.wait(30)
        http.delete(f"/api/v1/leases/{lease}", params={"reason": "enough"})
        go.set()
        beginning.join(30)
        assert answers[0]["value"]["error"] == "session not created"
        assert "ended while the session began" in answers[0]["value"]["message"]
        until(lambda: not target.sessions)
        del target.scripted["POST /session"]
        assert http.get("/api/v1/webdriver/sessions").json()["items"] == []
        assert http.post("/webdriver/session", json={"capabilities": {}}).status_code == 200


@pytest.mark.parametrize("times", [1, 2])
def test_a_device_is_left_when_nobody_waits_for_its_session_any_more(times, daemon, begin, monkeypatch, ended):
    """The request is withdrawn while a thread writes its books: threads cannot be cancelled. Its client may go after
    its time was over, too."""
    targets, reached, go = daemon.webdriver.targets, threading.Event(), threading.Event()
    target_of = targets.target
    begun = []

    def slow(device):
        reached.set()
        assert go.wait(30)
        return target_of(device)

    async def withdraw():
        provider = daemon.webdriver.hub.lifecycle._provider
        wanted = process({"capabilities": {"alwaysMatch": {"lab:device": "left"}}})
        asking = asyncio.create_task(provider.acquire(wanted, Asker(LOCAL_ADMINISTRATOR), lambda _: None))
        assert await asyncio.to_thread(reached.wait, 30)
        with daemon.store.read() as connection:
            begun.append(connection.execute(sa.select(runs.c.id)).scalar_one())
        for _ in range(times):
            asking.cancel()
            await asyncio.sleep(0.01)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await asking
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)

    with monkeypatch.context() as patch:
        patch.setattr(targets, "target", slow)
        asyncio.run(withdraw())
    run = ended(begun[0])
    assert (run["verdict"], run["reason"]) == ("cancelled", "its client went away, or waited long enough")
    assert begin(**{"lab:device": "left"})["capabilities"]["lab:device"] == "left"


def test_a_device_that_becomes_free_just_before_others_are_asked_for_is_the_one(daemon, http, monkeypatch):
    provider = daemon.webdriver.hub.lifecycle._provider
    state_of, seen = provider._state, iter(["waiting"])  # as it was a moment ago
    monkeypatch.setattr(provider, "_state", lambda lease: next(seen, None) or state_of(lease))
    choices = [{"lab:device": "left"}, {"lab:device": "right"}]
    value = http.post("/webdriver/session", json={"capabilities": {"firstMatch": choices}}).json()["value"]
    assert value["capabilities"]["lab:device"] == "left"
    assert devices(http)["right"]["lease"] is None
    http.delete(f"/webdriver/session/{value['sessionId']}")
    assert devices(http)["left"]["lease"] is None


def test_a_session_whose_phone_cannot_be_reached_leaves_an_errored_run(daemon, http, monkeypatch):
    def begin(_device, _lease):
        raise UnavailableError("the host nuc-1 is offline")

    monkeypatch.setattr(daemon.webdriver.targets.phones, "begin", begin)
    assert "the host nuc-1 is offline" in refused(http, **{"lab:device": "phone"})["message"]
    (run,) = http.get("/api/v1/runs").json()["items"]
    assert (run["state"], run["verdict"]) == ("finished", "errored")


def test_a_request_that_is_withdrawn_while_it_is_written_down_gets_no_lease(daemon, http, monkeypatch):
    leases, reached, go, written = daemon.leases, threading.Event(), threading.Event(), threading.Event()
    request_of = leases.request

    def slow(*arguments):
        reached.set()
        assert go.wait(30)
        try:
            return request_of(*arguments)
        finally:
            written.set()

    async def withdraw():
        provider = daemon.webdriver.hub.lifecycle._provider
        wanted = process({"capabilities": {"alwaysMatch": {"lab:device": "left"}}})
        asking = asyncio.create_task(provider.acquire(wanted, Asker(LOCAL_ADMINISTRATOR), lambda _: None))
        assert await asyncio.to_thread(reached.wait, 30)
        asking.cancel()
        await asyncio.sleep(0.01)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await asking

    with monkeypatch.context() as patch:
        patch.setattr(leases, "request", slow)
        asyncio.run(withdraw())
    assert written.wait(30)
    assert devices(http)["left"]["lease"] is None


class TestWithinAJob:
    JOB = """
name: together
roles: {alice: {device: left}, bob: {device: phone}}
lanes:
  alice: {steps: [{uses: test.hold}]}
"""

    @pytest.fixture
    def running(self, daemon, http, offer):
        """A job that runs until it is let go."""
        go, begun = threading.Event(), threading.Event()
        runs = []

        def hold(context):
            runs.append(context.run)
            begun.set()
            go.wait(30)
            return Outcome(Verdict.PASSED)

        offer("test.hold", hold)
        response = http.post("/api/v1/jobs", content=self.JOB, headers={"Content-Type": "application/yaml"})
        assert begun.wait(30), response.text
        yield response.json()["id"], runs[0]
        go.set()

    @pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
    def test_sessions_join_its_run_each_on_its_device(self, begin, http, running, until):
        job, run = running
        left = begin(browserName="trivial", **{"lab:job": job})
        phone = begin(**{"lab:job": run, "platformName": "Android"})
        assert [each["capabilities"]["lab:device"] for each in (left, phone)] == ["left", "phone"]
        assert {each["capabilities"]["lab:run"] for each in (left, phone)} == {run}
        for each in (left, phone):
            http.delete(f"/webdriver/session/{each['sessionId']}")
        kept = until(lambda: _artifacts(http, run, 2))
        assert kept == {"left-commands.jsonl", "phone-commands.jsonl"}
        assert http.get(f"/api/v1/runs/{run}").json()["state"] == "running"

    def test_a_step_opens_one_within_its_run(self, daemon, http, running):
        _, run = running
        opened = daemon.webdriver.open(LOCAL_ADMINISTRATOR, run, {"platformName": "Android"})
        assert (opened.device, opened.path) == ("phone", f"/webdriver/session/{opened.id}")
        assert http.get(f"{opened.path}/title").status_code == 200
        daemon.webdriver.end(opened.id, "done", verdict=Verdict.PASSED)
        with pytest.raises(WebDriverError, match="there is no run"):
            daemon.webdriver.open(LOCAL_ADMINISTRATOR, "none", {})

    def test_a_step_opens_another_where_its_own_has_ended_by_itself(self, daemon, running):
        _, run = running
        steps = StepSessions(daemon.webdriver)
        steps.open(run, "phone", "local", {})
        with pytest.raises(LabFailureError, match="close it first"):
            steps.open(run, "phone", "local", {})
        (lost,) = daemon.webdriver.sessions()
        daemon.webdriver.end(lost["id"], "its target died")
        assert steps.open(run, "phone", "local", {})["lab:device"] == "phone"


def _artifacts(http, run, count):
    names = {each["name"] for each in http.get(f"/api/v1/runs/{run}").json()["artifacts"]}
    return names if len(names) == count else None


def test_a_cancelled_job_ends_its_session(begin, http, ended):
    told = begin()["capabilities"]
    assert http.post(f"/api/v1/jobs/{told['lab:job']}/cancel").status_code < 300
    assert ended(told["lab:run"])["verdict"] == "cancelled"


def test_a_session_is_ended_over_the_api(begin, http, ended):
    value = begin(**{"lab:device": "left"})
    assert http.delete(f"/api/v1/webdriver/sessions/{value['sessionId']}").status_code == 200
    assert ended(value["capabilities"]["lab:run"])["reason"] == "ended by local"
    assert devices(http)["left"]["lease"] is None
    assert http.delete(f"/api/v1/webdriver/sessions/{value['sessionId']}").status_code == 404


def test_a_server_of_ours_that_dies_ends_the_session_and_comes_back(begin, daemon, http, ended, until):
    value = begin(browserName="own")
    server = daemon.webdriver.targets._servers["own"]
    os.kill(server._process.pid, signal.SIGKILL)
    run = ended(value["capabilities"]["lab:run"])
    assert run["verdict"] == "errored"
    assert "own was lost" in run["reason"]
    assert "commands.jsonl" in {each["name"] for each in run["artifacts"]}
    until(lambda: devices(http)["own"]["state"] == "good")
    assert begin(browserName="own")["capabilities"]["lab:device"] == "own"


def test_one_elsewhere_that_dies_takes_its_devices_offline(begin, http, ended, target, until):
    value = begin(**{"lab:device": "left"})
    target.run(target.stop())
    assert http.get(f"/webdriver/session/{value['sessionId']}/title").json()["value"]["error"] == "unknown error"
    assert ended(value["capabilities"]["lab:run"])["verdict"] == "errored"
    assert devices(http)["left"]["state"] == "offline"
    target.run(target.start())
    until(lambda: devices(http)["left"]["state"] == "good")


def test_one_elsewhere_that_is_not_well_is_told_to_quit_the_session_that_is_ended(begin, daemon, ended, target):
    value = begin(**{"lab:device": "left"})
    target.scripted["GET /status"] = answer("out of memory", 500)
    daemon.webdriver.targets.look_after("left", "somebody doubts it")
    run = ended(value["capabilities"]["lab:run"])
    assert "left was lost" in run["reason"]
    assert target.sessions == set()


def test_a_daemon_that_was_killed_in_a_session_closes_its_books_when_it_is_back(begin, daemon, http):
    told = begin(**{"lab:device": "left"})["capabilities"]
    daemon.store.write(lambda transaction: running.recover(transaction, "it was killed"))
    run = http.get(f"/api/v1/runs/{told['lab:run']}").json()
    assert (run["state"], run["verdict"]) == ("finished", "errored")
    assert http.get(f"/api/v1/jobs/{told['lab:job']}").json()["state"] == "finished"
    assert devices(http)["left"]["lease"] is None


class TestTheCommandLine:
    def test_sessions_and_waiting_requests_are_listed(self, begin, http, url, until, capsys):
        held = begin(**{"lab:device": "left"})["sessionId"]
        waiting = threading.Thread(target=lambda: begin(**{"lab:device": "left"}))
        waiting.start()
        until(lambda: http.get("/api/v1/webdriver/queue").json()["items"])
        assert show_sessions(url, as_json=True) == 0
        shown = json.loads(capsys.readouterr().out)
        assert [each["device"] for each in shown["sessions"]] == ["left"]
        assert [each["wanted"] for each in shown["waiting"]] == ["device=left"]
        assert show_sessions(url, as_json=False) == 0
        assert "left" in capsys.readouterr().out
        http.delete("/api/v1/webdriver/sessions/" + held)
        until(lambda: not http.get("/api/v1/webdriver/queue").json()["items"])
        for each in http.get("/api/v1/webdriver/sessions").json()["items"]:
            end_session(url, each["id"], "enough")
        waiting.join(30)

    def test_a_session_that_is_not_there(self, http, url):
        with pytest.raises(ExpectedError, match="no open WebDriver session"):
            end_session(url, "none", "")
