"""The pilot's page in a real browser: what its inputs make of the robot, and what stops it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import pytest

from devices.client import WebDriverSession
from devices.pilot import GamepadInput, KeyboardInput, MouseInput, PagedBase, PilotPage
from devices.pilot.client import OUR_KEYS, OUR_STICK
from devices.pilot.inputs import PilotInput, chords, nearest_keys, open_input
from drivers.clock import ManualClock, SystemClock
from drivers.errors import DeviceError
from drivers.protocols import GuardedBase
from drivers.sim.pilot import PilotServer
from drivers.types import BaseMode, BaseState, ChargingState, MotionStatus, StopReason, Twist

KEY = (OUR_KEYS.speed_m_s, OUR_KEYS.turn_rad_s)
KEY_SLOW = (OUR_KEYS.slow_m_s, OUR_KEYS.slow_rad_s)
FULL = (OUR_STICK.full_m_s, OUR_STICK.full_rad_s)


@dataclass
class Recorder:
    """A base that notes what it is told."""

    told: list[tuple[float, float]] = field(default_factory=list)
    stopped: int = 0
    ticks: int = 1000

    def drive(self, linear: float, angular: float) -> None:
        self.told.append((linear, angular))

    def stop(self) -> None:
        self.stopped += 1

    def state(self) -> BaseState:
        return BaseState(
            time.monotonic(), self.ticks, -self.ticks, BaseMode.SAFE, False, ChargingState.NOT_CHARGING, 0.5, 0.0, 14.0
        )

    def status(self) -> MotionStatus:
        rest = Twist(0.0, 0.0)
        return MotionStatus(time.monotonic(), True, False, False, None, "", rest, rest, 0)


@pytest.fixture
def base() -> Recorder:
    return Recorder()


@pytest.fixture
def server(base: Recorder) -> Iterator[PilotServer]:
    with PilotServer(base) as running:
        yield running


@pytest.fixture
def page(server: PilotServer, browser: WebDriverSession) -> PilotPage:
    opened = PilotPage(browser)
    opened.open(server.url)
    return opened


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.01)


def hold(piloted: PilotInput, base: Recorder, linear: float, angular: float, wanted: tuple[float, float]) -> None:
    """Repeat a wish, as the driving code does, until the base hears what it should."""
    base.told.clear()

    def heard() -> bool:
        piloted.drive(linear, angular)
        return any(told == pytest.approx(wanted, abs=0.02) for told in base.told)

    until(heard, f"command near {wanted}, but {base.told[-3:]}")


def test_odometry_is_shown_and_read_back(page: PilotPage, base: Recorder) -> None:
    base.ticks = 4711
    until(lambda: (page.telemetry() or {})["state"]["left_ticks"] == 4711, "new odometry")
    shown = page.session.execute("return [...document.querySelectorAll('dd')].map(each => each.textContent)")
    assert shown == ["4711", "-4711", "50 %", "moving"]
    call = page.session.find("css selector", "#call")
    page.session.click(call)
    assert (
        page.session.execute(
            "return arguments[0].getAttribute('aria-pressed')", {"element-6066-11e4-a52e-4f735466cecf": call}
        )
        == "true"
    )


def test_keys_are_velocities(page: PilotPage, base: Recorder) -> None:
    keyboard = KeyboardInput(page.session)
    hold(keyboard, base, KEY[0], 0.0, (KEY[0], 0.0))
    hold(keyboard, base, 0.0, -KEY[1], (0.0, -KEY[1]))
    hold(keyboard, base, KEY_SLOW[0], 0.0, (KEY_SLOW[0], 0.0))
    keyboard.stop()
    until(lambda: base.told[-1] == (0.0, 0.0), "stop")


@pytest.mark.parametrize("make", [MouseInput, GamepadInput])
def test_pad_and_stick_are_any_velocity(
    page: PilotPage, base: Recorder, make: Callable[[WebDriverSession], PilotInput]
) -> None:
    piloted = make(page.session)
    hold(piloted, base, 0.2, 0.0, (0.2, 0.0))
    hold(piloted, base, -0.1, 0.5, (-0.1, 0.5))
    hold(piloted, base, 9.0, 0.0, (FULL[0], 0.0))
    piloted.stop()
    until(lambda: base.told[-1] == pytest.approx((0.0, 0.0), abs=1e-9), "stop")


@pytest.mark.parametrize("name", ["keyboard", "mouse", "gamepad"])
def test_an_input_that_is_not_repeated_lets_go_by_itself(page: PilotPage, base: Recorder, name: str) -> None:
    piloted = open_input(name, page.session)
    hold(piloted, base, KEY[0], 0.0, (KEY[0], 0.0))
    until(lambda: base.told[-1] == (0.0, 0.0), "letting go")


def test_a_page_that_loses_the_focus_stops_the_robot(page: PilotPage, base: Recorder, server: PilotServer) -> None:
    piloted = GamepadInput(page.session)
    hold(piloted, base, 0.2, 0.0, (0.2, 0.0))
    page.session.execute("window.dispatchEvent(new Event('blur'))")
    until(lambda: base.stopped > 0, "stop")
    assert server.stops == ["the page lost the focus"]
    base.told.clear()
    piloted.drive(0.2, 0.0)
    time.sleep(0.2)
    assert [told for told in base.told if told != (0.0, 0.0)] == []


def test_a_browser_that_dies_stops_the_robot(
    own_browser: WebDriverSession, base: Recorder, server: PilotServer
) -> None:
    page = PilotPage(own_browser)
    page.open(server.url)
    hold(GamepadInput(page.session), base, 0.2, 0.0, (0.2, 0.0))
    page.session.command("DELETE", "/window")
    until(lambda: base.stopped > 0, "stop")
    assert server.stops[0] in ("the pilot's socket was closed", "the page was hidden", "the page lost the focus")


def test_a_page_that_hangs_stops_the_robot(page: PilotPage, base: Recorder, server: PilotServer) -> None:
    hold(GamepadInput(page.session), base, 0.2, 0.0, (0.2, 0.0))
    script = "const until = performance.now() + 2500; while (performance.now() < until);"
    hanging = threading.Thread(target=page.session.execute, args=(script,))
    hanging.start()
    until(lambda: base.stopped > 0, "stop")
    hanging.join()
    assert server.stops[0] == "the pilot's page was silent for 0.25 s"


def test_a_page_that_lost_the_focus_is_no_odometry_to_drive_by(page: PilotPage, base: Recorder) -> None:
    paged = PagedBase(cast(GuardedBase, base), page, GamepadInput(page.session), SystemClock())
    assert paged.state().left_ticks == base.ticks
    page.session.execute("window.dispatchEvent(new Event('blur'))")
    with pytest.raises(DeviceError, match="the page lost the focus, so it passes no input on to the robot"):
        paged.state()
    assert base.stopped > 0


class PlayedPage:
    """What a page would show; and an input that reaches nobody."""

    name = "played"
    halted: str | None = None

    def reading(self) -> dict[str, Any]:
        return {"state": asdict(Recorder().state()), "halted": self.halted}

    def drive(self, _linear: float, _angular: float) -> None: ...

    def stop(self) -> None: ...


def test_a_base_that_the_page_passes_nothing_on_to_is_not_called_free_to_move() -> None:
    """Otherwise the robot would be to blame that it does not arrive."""
    clock, page = ManualClock(time.monotonic()), PlayedPage()
    paged = PagedBase(cast(GuardedBase, Recorder()), cast(PilotPage, page), page, clock)
    assert paged.status().allowed
    paged.drive(0.2, 0.0)
    assert paged.status().allowed
    clock.advance(1.5)
    status = paged.status()
    assert (status.allowed, status.reason) == (False, StopReason.COMMAND_EXPIRED)
    assert status.detail == "of what the page was asked for nothing came to the guard for 1.5 s"
    paged.stop()
    assert paged.status().allowed


def test_why_the_page_was_halted_is_told_at_once() -> None:
    clock, page = ManualClock(time.monotonic()), PlayedPage()
    paged = PagedBase(cast(GuardedBase, Recorder()), cast(PilotPage, page), page, clock)
    paged.drive(0.2, 0.0)
    page.halted = "the pilot's page was silent for 0.25 s"
    paged.state()
    assert paged.status().detail == page.halted
    assert not paged.status().allowed


def test_a_second_pilot_is_sent_away(page: PilotPage, server: PilotServer) -> None:
    page.session.execute(
        "window.second = ''; const other = new WebSocket(arguments[0]); "
        "other.onclose = event => { window.second = `${event.code} ${event.reason}`; };",
        server.url.replace("http", "ws") + "ws",
    )
    until(lambda: page.session.execute("return window.second") != "", "answer")
    assert page.session.execute("return window.second") == "1013 somebody else drives this robot"


@pytest.mark.parametrize(
    ("wish", "keys"),
    [((0.25, 0.0), {"\ue013"}), ((0.0, 0.6), {"\ue012"}), ((-0.3, -0.5), {"\ue015", "\ue014"}),
     ((0.04, 0.0), {"\ue013", "\ue008"}), ((0.01, 0.02), set())],
)  # fmt: skip
def test_the_nearest_keys(wish: tuple[float, float], keys: set[str]) -> None:
    assert nearest_keys(chords(OUR_KEYS), *wish)[0] == keys


def test_what_keys_round_off_is_made_up_for() -> None:
    class Typed:
        def actions(self, *_sources: object) -> None: ...

    keyboard, sums = KeyboardInput(Typed()), [0.0, 0.0]  # type: ignore[arg-type]  # only the arithmetic matters
    for _ in range(400):
        keyboard.drive(0.13, -0.2)
        for axis, got in enumerate(nearest_keys_of(keyboard)):
            sums[axis] += got / 400
    assert sums == pytest.approx([0.13, -0.2], abs=0.01)


def nearest_keys_of(keyboard: KeyboardInput) -> tuple[float, float]:
    """The velocities of the keys that are held."""
    held = keyboard._held
    linear, angular = KEY_SLOW if "\ue008" in held else KEY
    return (
        linear * (("\ue013" in held) - ("\ue015" in held)),
        angular * (("\ue012" in held) - ("\ue014" in held)),
    )
