"""A job that needs no code: steps on a real Chromium that the lab starts, judged by what the page shows."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from labctl.client import Lab

PAGE = """<!doctype html><title>Orders</title>
<style>
  body { margin: 0; font: 16px sans-serif; }
  #header { height: 60px; background: #ddd; }
  #name { position: absolute; left: 20px; top: 80px; width: 200px; height: 24px; }
  #save { position: absolute; left: 240px; top: 80px; width: 80px; height: 30px; }
  #status { position: absolute; left: 20px; top: 130px; }
</style>
<div id="header">Orders</div><input id="name" name="customer"><button id="save" disabled>Save</button>
<output id="status">ready</output>
<script>
  const name = document.getElementById("name"), save = document.getElementById("save");
  name.addEventListener("input", () => { save.disabled = BROKEN ? false : !name.value; });
  save.addEventListener("click", () => setTimeout(() => { status_.textContent = "saved " + name.value; }, 150));
  const status_ = document.getElementById("status");
</script>
"""


# Draws itself anew twice a second, lies under a veil for half a second, and settles a moment after each click.
RESTLESS = """<!doctype html><title>Restless</title>
<div id="veil" style="position: fixed; inset: 0; background: #fffc"></div><main></main>
<script>
  let clicks = 0, locked = false;
  const draw = () => {
    document.querySelector("main").innerHTML =
      `<button id="more" ${locked ? "disabled" : ""}>More</button><p id="count">${clicks}</p><i>${locked}</i>`;
  };
  draw();
  setInterval(draw, 500);
  setTimeout(() => document.getElementById("veil").remove(), 500);
  document.addEventListener("click", event => {
    if (event.target.id !== "more") return;
    clicks += 1;
    locked = true;
    setTimeout(() => { locked = false; }, 600);
  });
</script>
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two versions of a page: one that keeps its promises, and one that does not."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "good.html").write_text(PAGE.replace("BROKEN", "false"), encoding="utf-8")
    (folder / "broken.html").write_text(PAGE.replace("BROKEN", "true"), encoding="utf-8")
    (folder / "restless.html").write_text(RESTLESS, encoding="utf-8")
    handler = partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


Steps = list[dict[str, Any]]
Run = Callable[[Steps], dict[str, Any]]


@pytest.fixture
def run(lab: Any) -> Iterator[Run]:
    """Runs steps on the lab's Chromium; gives the run as the API shows it."""
    with Lab(lab.url) as client:

        def run_steps(steps: Steps) -> dict[str, Any]:
            job = {"name": "steps", "roles": {"page": {"device": "chrome"}}, "lanes": {"page": {"steps": steps}}}
            ended = client.run(json.dumps(job))
            return client.run_result(ended["runs"][-1])

        yield run_steps


def step(uses: str, **parameters: Any) -> dict[str, Any]:
    return {"uses": f"webdriver.{uses}", "with": parameters}


def opened(url: str, **more: Any) -> dict[str, Any]:
    return step("open", url=url, **more)


def test_a_form_is_filled_in_and_checked(run: Run, pages: str) -> None:
    result = run([
        opened(f"{pages}/good.html"),
        step("expect", id="save", enabled=False),
        step("type", id="name", text="Zoë", clear=True),
        step("click", css="#save"),
        {"id": "seen", **step("find", css="#status")},
        step("expect", css="#status", text="saved Zoë", displayed=True),
        step("expect", tag="button", count=1),
        step("expect", id="nothing", absent=True),
        step("script", script="return document.title", expect="Orders"),
        step("screenshot", name="after"),
        step("close"),
    ])  # fmt: skip
    assert result["verdict"] == "passed", result["reason"]
    names = {each["name"] for each in result["artifacts"]}
    assert {"after.png", "chrome-commands.jsonl"} <= names


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (step("expect", id="status", text="saved", wait_s=0.3), "it says 'ready', not 'saved', after 0.3 s"),
        (step("expect", id="save", enabled=True, wait_s=0), "it is not enabled"),
        (step("expect", id="save", count=2, wait_s=0), "there are 1, not 2"),
        (step("expect", id="name", attributes={"name": "client"}, wait_s=0), "its name is 'customer', not 'client'"),
        (step("click", id="nothing", wait_s=0.2), "no element by id 'nothing' within 0.2 s"),
        (step("script", script="return 1 + 1", expect=3), "the script gave 2, not 3"),
        (step("script", script="throw new Error('no')"), "javascript error"),
    ],
)
def test_what_the_page_does_wrong_fails_the_job(run: Run, pages: str, wrong: dict[str, Any], reason: str) -> None:
    result = run([opened(f"{pages}/good.html"), wrong])
    assert result["verdict"] == "failed"
    assert reason in result["reason"]


def test_a_page_of_the_program_may_say_that_the_lab_is_wrong(run: Run) -> None:
    shipped = {"uses": "webdriver.open", "with": {"page": "call"}}
    tells = step("script", script="return Promise.resolve([typeof offer, isSecureContext])", expect=["function", True])
    result = run([shipped, tells, step("script", script="return ['busy']", expect=[], otherwise="errored")])
    assert result["verdict"] == "errored"
    assert "the script gave ['busy'], not []" in result["reason"]


def test_invariants_are_looked_at_after_every_step(run: Run, pages: str) -> None:
    invariants = {
        "elements": {"name": {"id": "name"}, "save": {"id": "save"}},
        "invariants": ['save.enabled iff name["value"] != ""'],
    }
    steps = [step("type", id="name", text="x"), step("type", id="name", text="", clear=True)]
    good = run([opened(f"{pages}/good.html", **invariants), steps[0]])
    assert good["verdict"] == "passed", good["reason"]
    broken = run([opened(f"{pages}/broken.html", **invariants), steps[0], step("script", script=CLEAR)])
    assert broken["verdict"] == "failed"
    assert "save.enabled iff" in broken["reason"]
    assert "save.enabled is True" in broken["reason"]


def test_a_page_that_redraws_itself_and_settles_late_is_waited_for(run: Run, pages: str) -> None:
    settling = {"elements": {"more": {"id": "more"}}, "invariants": ["more.enabled"], "settle_s": 20}
    result = run([
        opened(f"{pages}/restless.html", **settling),
        step("click", id="more"),
        step("expect", id="count", text="1"),
        step("click", id="more"),
        {"id": "seen", **step("find", id="count")},
        step("expect", id="count", text="${{ steps.seen.outputs.text }}"),
    ])  # fmt: skip
    assert result["verdict"] == "passed", result["reason"]


CLEAR = "const n = document.getElementById('name'); n.value = ''; n.dispatchEvent(new Event('input'));"


def test_layout_is_judged_and_what_is_off_is_framed(run: Run, pages: str) -> None:
    elements = {"header": {"id": "header"}, "name": {"id": "name"}, "save": {"css": "#save"}}
    rules = {"name": ["below header 10..30 px", "left of save 5..40 px"], "header": "inside screen 0 px top left right"}
    good = run([opened(f"{pages}/good.html"), step("layout", elements=elements, sections=[{"rules": rules}])])
    assert good["verdict"] == "passed", good["reason"]
    wrong = [{"rules": {"save": "same width as name"}}]
    off = run([opened(f"{pages}/good.html"), step("layout", elements=elements, sections=wrong, wait_s=0)])
    assert off["verdict"] == "failed"
    assert "save: same width as name - but it differs by" in off["reason"]
    assert "layout.png" in {each["name"] for each in off["artifacts"]}


def test_layout_is_judged_at_several_sizes(run: Run, pages: str) -> None:
    elements, sizes = {"save": {"id": "save"}}, [[900, 500], [640, 480]]
    width = step("script", script="return innerWidth")
    narrow = {"screen": "< 700 px", "rules": {"save": "visible"}}
    as_before = {"expect": "${{ steps.before.outputs.value }}", "script": "return innerWidth"}
    good = run([
        opened(f"{pages}/good.html"),
        {"id": "before", **width},
        step("layout", elements=elements, sections=[narrow], sizes=sizes),
        step("script", **as_before),
    ])  # fmt: skip
    assert good["verdict"] == "passed", good["reason"]
    gone = {"screen": "< 700 px", "rules": {"save": "absent"}}
    off = run([opened(f"{pages}/good.html"), step("layout", elements=elements, sections=[gone], sizes=sizes, wait_s=0)])
    assert off["verdict"] == "failed"
    assert "at 640 x 480: save: absent" in off["reason"]
    assert "at 900 x 500" not in off["reason"]
    assert "layout-640x480.png" in {each["name"] for each in off["artifacts"]}


def test_the_screen_is_compared_with_a_picture(run: Run, pages: str) -> None:
    def compared(*before: dict[str, Any], **parameters: Any) -> dict[str, Any]:
        picture = [opened(f"{pages}/good.html"), step("screenshot", name="expected")]
        return run([*picture, *before, step("compare", expected="expected.png", wait_s=0.5, **parameters)])

    colour = step("script", script="document.getElementById('header').style.background = 'red'")
    assert compared()["verdict"] == "passed"
    other = compared(colour)
    assert other["verdict"] == "failed"
    assert "of the picture differs" in other["reason"]
    assert {"actual.png", "difference.png"} <= {each["name"] for each in other["artifacts"]}
    assert compared(colour, masks=[{"id": "header"}])["verdict"] == "passed"


def test_steps_without_a_session_say_what_to_do(run: Run) -> None:
    result = run([step("click", css="#save")])
    assert result["verdict"] == "errored"
    assert "open one with webdriver.open" in result["reason"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (step("click"), "give one of css, xpath"),
        (step("click", css="a", id="b"), "give one of css, xpath"),
        (step("expect", css="a", matches="("), "no regular expression"),
        (step("expect", css="a", absent=True, text="x"), "has no other conditions"),
        (step("layout", elements={}, sections=[{"rules": {"a": "floats"}}]), "floats: not a rule"),
        (step("layout", elements={}, sections=[{"rules": {"a": "visible"}}]), "the rules name a"),
        (step("open", invariants=["save.enabled"]), "no element is called 'save'"),
        (step("clik", css="a"), "did you mean 'webdriver.click'"),
    ],
)
def test_a_job_that_makes_no_sense_is_refused(lab: Any, wrong: dict[str, Any], message: str) -> None:
    job = {"name": "steps", "roles": {"page": {"device": "chrome"}}, "lanes": {"page": {"steps": [wrong]}}}
    answer = lab.http.post("/api/v1/jobs", content=json.dumps(job), headers={"Content-Type": "application/yaml"})
    assert answer.status_code == 422
    assert message in answer.text.replace("\\", "")
