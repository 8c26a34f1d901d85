"""One WebDriver session: its desktop, the applications on it, their windows and elements; finding.py finds them."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from devices.desktop.atspi import (
    ACCESSIBLE,
    COMPONENT,
    TEXT,
    AtspiBus,
    AtspiError,
    Event,
    Ref,
    accessibility_address,
    states_of,
)
from devices.desktop.capabilities import Settings
from devices.desktop.desk import Desk, marked, open_desk, window_manager
from devices.desktop.mirror import Mirror
from devices.desktop.names import DIALOG_ROLES, has_state
from devices.desktop.tree import Node
from devices.desktop.x11 import GONE, Display, Rect
from devices.webdriver import WebDriverError

T = TypeVar("T")

# Events wake a waiting command; this is how often it looks all the same, for toolkits that are silent about some
# changes.
LOOK_AGAIN_S = 0.25


class Session:
    """One client's session. Commands run one at a time; the server sees to that."""

    def __init__(self, number: str, settings: Settings) -> None:
        self.id = number
        self.settings = settings
        self.implicit_s = settings.implicit_s
        self.page_load_s = settings.page_load_s
        self.script_s = settings.script_s
        self.desk: Desk
        self.display: Display
        self.bus: AtspiBus
        self.mirrors: list[Mirror] = []
        self.window: Ref | None = None
        self.changed = asyncio.Event()
        self._app: asyncio.subprocess.Process | None = None
        self._elements: dict[str, tuple[Mirror, Ref]] = {}
        self._element_ids: dict[Ref, str] = {}
        self._serial = itertools.count(1)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"x11-{number[:8]}")
        self._identified: set[Ref] = set()
        self.no_identifier: set[str] = set()  # buses of toolkits without the property AccessibleId

    # Beginning and end

    @classmethod
    async def start(cls, number: str, settings: Settings) -> Session:
        """Open the desktop, start or attach to the application and wait for its window.

        Raises WebDriverError("session not created"); whatever was started by then is ended.
        """
        self = cls(number, settings)
        self.desk = await open_desk(settings)
        try:
            self.display = await self.x(lambda: Display(self.desk.display))
            if self.desk.own and window_manager(settings.window_manager) is not None:
                await self.x(lambda: self.display.wait_for_window_manager(settings.start_timeout_s))
            self.bus = await self._accessibility()
            self.bus.listen(self._on_event)
            if settings.command:
                await self.launch(settings.command, settings.folder)
            elif settings.whole_desktop:
                await self.gather()
            else:
                await self._attach()
            return self
        except BaseException:
            await self.end()
            raise

    async def _accessibility(self) -> AtspiBus:
        settings = self.settings
        try:
            async with asyncio.timeout(settings.start_timeout_s):
                address = await accessibility_address(self.desk.session_bus)
                return await AtspiBus.connect(address, settings.command_timeout_s)
        except TimeoutError:
            raise WebDriverError(
                "session not created",
                f"the session bus {self.desk.session_bus} gave no accessibility bus within "
                f"{settings.start_timeout_s:g} s; look whether it still runs, and at-spi2-core on it",
            ) from None

    async def end(self) -> None:
        """End the application that was started, the desktop when it is the session's own, and all that they left."""
        if hasattr(self, "display"):
            with suppress(Exception):
                async with asyncio.timeout(2):
                    await self.x(self.display.keyboard.restore)
        if hasattr(self, "bus"):
            self.bus.close()
        if hasattr(self, "desk"):
            await self.desk.end()
        if hasattr(self, "display"):
            with suppress(Exception):
                self.display.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def x(self, work: Callable[[], T]) -> T:
        """Run something on the X connection, in its thread; "timeout" if the X server does not answer, "no such window"
        if it is gone.
        """
        try:
            async with asyncio.timeout(self.settings.command_timeout_s + self.settings.start_timeout_s):
                return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except TimeoutError:
            raise WebDriverError("timeout", f"the X server {self.desk.display} does not answer") from None
        except GONE as error:
            raise WebDriverError("no such window", f"the X server {self.desk.display} is gone: {error}") from error

    async def launch(self, command: tuple[str, ...], folder: str | None = None) -> None:
        """Start an application and wait until it shows a window, which becomes the current one."""
        process = self._app = await self.desk.start(command, folder)
        began = time.monotonic()

        def reached() -> bool:
            return any(node.has("showing") for mirror in self.mirrors for node in mirror.windows())

        while True:
            self.changed.clear()
            await self.gather()
            if reached():
                break
            # A launcher may hand over to a process of its own and end well.
            gone = process.returncode not in (None, 0) and not await asyncio.to_thread(self._others_run, process.pid)
            if gone:
                raise WebDriverError(
                    "session not created",
                    f"{' '.join(command)} ended with exit code {process.returncode} before it showed a window: "
                    f"{self.desk.output() or 'no message'}",
                )
            if time.monotonic() - began > self.settings.start_timeout_s:
                raise WebDriverError(
                    "session not created",
                    f"{' '.join(command)} showed no accessible window on {self.desk.display} within "
                    f"{self.settings.start_timeout_s:g} s; it said: {self.desk.output() or 'nothing'}",
                )
            await self.wait_change(LOOK_AGAIN_S)
        self.choose_window()

    def _others_run(self, leader: int) -> bool:
        for pid in marked(self.desk.mark):
            with suppress(ProcessLookupError):
                if os.getsid(pid) == leader:
                    return True
        return False

    async def _attach(self) -> None:
        settings = self.settings
        await self.gather()
        if not self.mirrors:
            wanted = f"process {settings.attach_pid}" if settings.attach_pid else f"name {settings.attach_name!r}"
            names = [str(mirror) for mirror in await self._all_mirrors()]
            raise WebDriverError(
                "session not created",
                f"no accessible application of {wanted} on {self.desk.display}; there are: "
                f"{', '.join(names) or 'none'}",
            )
        self.choose_window()

    async def _all_mirrors(self) -> list[Mirror]:
        found = []
        for ref in await self.bus.applications():
            mirror = Mirror(self.bus, ref, await self.bus.pid_of(ref.bus))
            with suppress(AtspiError):
                mirror.root.name = await self.bus.property(ref, ACCESSIBLE, "Name")
            found.append(mirror)
        return found

    async def gather(self, *, follow: bool = False) -> None:
        """Bring the list of this session's applications, and their trees, up to date; with `follow` as far as
        `Mirror.follow` does.
        """
        for ref in await self.bus.applications():
            if any(mirror.root.ref.bus == ref.bus for mirror in self.mirrors):
                continue
            pid = await self.bus.pid_of(ref.bus)
            mirror = Mirror(self.bus, ref, pid)
            with suppress(AtspiError):
                mirror.root.name = await self.bus.property(ref, ACCESSIBLE, "Name")
            if self._ours(mirror):
                self.mirrors.append(mirror)
        await self.refresh(follow=follow)

    def _ours(self, mirror: Mirror) -> bool:
        settings = self.settings
        if settings.attach_pid is not None:
            return mirror.pid == settings.attach_pid
        if settings.attach_name is not None:
            return mirror.root.name == settings.attach_name
        if settings.whole_desktop or self.desk.own:
            return True
        with suppress(OSError):
            return self.desk.mark.encode() in Path(f"/proc/{mirror.pid}/environ").read_bytes()
        return False

    def _on_event(self, event: Event) -> None:
        if event.kind == "DBus.NameOwnerChanged":
            name, _, owner = event.body
            if not owner:
                for mirror in self.mirrors:
                    if mirror.root.ref.bus == name:
                        mirror.alive = False
            self.changed.set()
            return
        for mirror in self.mirrors:
            if mirror.root.ref.bus == event.ref.bus:
                mirror.on_event(event)
        self.changed.set()

    # Waiting

    async def wait_change(self, seconds: float) -> None:
        """Until an event arrives that came after `changed` was cleared, `seconds` at most."""
        try:
            async with asyncio.timeout(seconds):
                await self.changed.wait()
        except TimeoutError:
            pass

    async def until(self, look: Callable[[], Awaitable[T | None]], seconds: float) -> T | None:
        """What `look` finds, looking again after each event, for `seconds` at most; None if it finds nothing."""
        deadline = time.monotonic() + seconds
        while True:
            self.changed.clear()
            found = await look()
            left = deadline - time.monotonic()
            if found is not None or left <= 0:
                return found
            await self.wait_change(min(left, LOOK_AGAIN_S))
            if not self.changed.is_set():
                for mirror in self.mirrors:
                    mirror.check()

    async def refresh(self, *, follow: bool = False) -> None:
        """Bring all mirrors up to date, with `follow` as far as `Mirror.follow` does; those of applications that ended
        go. "no such window" when none is left of some.
        """
        had = bool(self.mirrors)
        for mirror in list(self.mirrors):
            try:
                await (mirror.follow() if follow else mirror.refresh())
            except WebDriverError as error:
                if error.code != "no such window":
                    raise
                self.mirrors.remove(mirror)
        if had and not self.mirrors and not self.settings.whole_desktop:
            raise WebDriverError("no such window", f"the application of the session has ended{self._last_words()}")

    def _last_words(self) -> str:
        code = None if self._app is None else self._app.returncode
        said = self.desk.output()
        return ("" if code is None else f" (exit code {code})") + (f"; its last output: {said}" if said else "")

    # Windows

    def windows(self) -> list[tuple[Mirror, Node]]:
        """All windows of the session's applications."""
        return [(mirror, node) for mirror in self.mirrors for node in mirror.windows()]

    def handle(self, node: Node) -> str:
        """The window's handle, the same as long as the window lives."""
        return f"window-{node.ref.bus[1:].replace('.', '-')}-{node.ref.path.rsplit('/', 1)[-1]}"

    def choose_window(self) -> None:
        """Make the active window the current one, else the first that shows, else none."""
        listed = [node for _, node in self.windows()]
        showing = [node for node in listed if node.has("showing")]
        active = [node for node in showing if node.has("active")]
        best = (active or showing or listed)[:1]
        self.window = best[0].ref if best else None

    async def current(self) -> tuple[Mirror, Node]:
        """The current window, after `Mirror.follow`; raises WebDriverError("no such window") when it was closed."""
        await self.gather(follow=True)
        if self.window is None and self.settings.whole_desktop:
            self.choose_window()
        for mirror, node in self.windows():
            if node.ref == self.window:
                return mirror, node
        others = ", ".join(f"{self.handle(node)} {node.name!r}" for _, node in self.windows())
        raise WebDriverError("no such window", f"the current window is closed; open windows: {others or 'none'}")

    async def x_window(self, mirror: Mirror, node: Node) -> int:
        """The X window of a top level: of the same process, with the same title or, if that is not enough, place."""
        extents = await self.extents(node.ref)

        def choose() -> int | None:
            mine = [number for number in self.display.windows() if mirror.pid is None or self._same(number, mirror.pid)]
            titled = [number for number in mine if self.display.title(number) == node.name]
            candidates = titled or mine

            def distance(number: int) -> int:
                rect = self.display.rect(number)
                return sum(abs(a - b) for a, b in zip(rect, extents, strict=True))

            return min(candidates, key=distance, default=None)

        number = await self.x(choose)
        if number is None:
            raise WebDriverError("no such window", f"window {node.name!r} of {mirror!r} has no X window that shows")
        return number

    def _same(self, number: int, pid: int) -> bool:
        owner = self.display.pid(number)
        return owner is None or owner == pid

    def dialog(self) -> tuple[Mirror, Node] | None:
        """The modal dialog that stands over the session's windows, if one does."""
        for mirror, node in reversed(self.windows()):
            if node.has("showing") and (node.has("modal") or node.role == "alert") and node.role in DIALOG_ROLES:
                return mirror, node
        return None

    # Elements

    def element_id(self, mirror: Mirror, node: Node) -> str:
        """The reference of an element, the same each time it is found."""
        known = self._element_ids.get(node.ref)
        if known is None:
            known = f"element-{self.id[:8]}-{next(self._serial)}"
            self._element_ids[node.ref] = known
            self._elements[known] = (mirror, node.ref)
        return known

    async def element(self, number: str) -> tuple[Mirror, Node]:
        """The element of a reference, with its states as they are now.

        Raises WebDriverError "no such element" for references that this session never gave, "stale element reference"
        when it is gone and "no such window" when its application is.
        """
        if number not in self._elements:
            raise WebDriverError("no such element", f"this session knows no element {number}")
        mirror, ref = self._elements[number]
        if not mirror.alive:
            raise WebDriverError("stale element reference", f"the application of element {number} has ended")
        try:
            states = states_of(await self.bus.call(ref, ACCESSIBLE, "GetState"))
        except AtspiError as error:
            if error.gone:
                raise WebDriverError("stale element reference", f"element {number} is gone ({ref.path})") from error
            raise
        if has_state(states, "defunct"):
            raise WebDriverError("stale element reference", f"element {number} is gone ({ref.path})")
        node = mirror.find(ref)
        if node is None:
            await mirror.refresh()
            node = mirror.find(ref)
        if node is None:
            raise WebDriverError("stale element reference", f"element {number} is no longer part of its window")
        node.states = states
        return mirror, node

    async def extents(self, ref: Ref) -> Rect:
        """Where the element stands on the display, as the application says now."""
        try:
            return Rect(*await self.bus.call(ref, COMPONENT, "GetExtents", "u", (0,)))
        except AtspiError as error:
            if error.name.endswith(("UnknownMethod", "UnknownInterface")):
                raise WebDriverError("element not interactable", f"{ref.path} has no place on the screen") from error
            raise

    async def text(self, node: Node) -> str:
        """An element's text: what it holds as text, else its name."""
        if node.offers(TEXT):
            return str(await self.bus.call(node.ref, TEXT, "GetText", "ii", (0, -1)))
        return node.name

    def processes(self) -> list[int]:
        """Every process that runs for this session."""
        return [pid for pid in marked(self.desk.mark) if pid != os.getpid()]
