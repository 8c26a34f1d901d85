"""A real WebRTC call between two headless Chromium on this machine: Alice fed by a mock microphone, Bob heard by a
mock speaker. Shared by the end-to-end tests and the benchmarks."""

from __future__ import annotations

import contextlib
import http.server
import itertools
import random
import re
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webdriver import WebDriver

from drivers.sound import DropOutKind, PulseServer, Samples, VirtualPair
from labctl.actions.webdriver.pages import page_file

RATE = 48_000
LOOPBACK = "127.0.0.1"
CONNECT_TIMEOUT_S = 30.0
PAUSE_S = 0.5
BEFORE_S = 0.25
BEHIND_S = 1.0
PRECEDENCE = -15  # of the browsers, where the user may give it: other work on the machine shall not be heard
# What a browser may be late with sound, in ms: it takes in and gives out 10 ms at a time and reports every 100 ms.
LATE_MS = 60.0
CONCEALED_MS = 10.0
_numbers = itertools.count(1)

# Where Linux groups processes by session (sched(7), autogroup) a nice value counts inside the group alone, and the
# group has one of its own. Who may not have precedence runs without: `nice` says so and goes on.
LAUNCHER = """#!/bin/sh
if [ "$1" != grouped ]; then exec setsid "$0" grouped "$@"; fi
shift
(echo {nice} > /proc/self/autogroup) 2>/dev/null
exec nice -n {nice} {program} "$@" 2>/dev/null
"""
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-features=WebRtcHideLocalIpsWithMdns,AudioServiceSandbox",
    "--allow-loopback-in-peer-connection",
)


@dataclass(frozen=True, slots=True)
class Line:
    """What the network and the codec do to a call. `bit_rate`: Opus, bit/s (None: the browser's choice, 32 kbit/s).

    `loss_ratio`: share of Alice's RTP packets that do not reach Bob, drawn at random from `seed`. `correction`: whether
    Opus packets carry a coarse copy of the one before (in-band forward error correction), as browsers ask for.
    """

    bit_rate: int | None = None
    loss_ratio: float = 0.0
    correction: bool = True
    seed: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What Bob heard of one utterance of Alice: both (N,) float32 at 48 kHz.

    `recording` runs from 0.25 s before the reference was put into Alice's microphone to 1 s after its end. `statistics`
    is Bob's inbound-rtp report of WebRTC. `faults`: what went wrong on the lab's own machine meanwhile, in its sound or
    because the browsers did not get to run; a recording with faults says nothing about the call.
    """

    reference: Samples
    recording: Samples
    sample_rate: int
    statistics: Mapping[str, Any]
    faults: tuple[str, ...]


class Call:
    """Two browsers in a call. `say` speaks into Alice's microphone and gives what came out of Bob's speaker."""

    def __init__(
        self, alice: WebDriver, bob: WebDriver, alices: VirtualPair, bobs: VirtualPair, *, lossless: bool
    ) -> None:
        self._alice = alice
        self._bob = bob
        self._lossless = lossless
        self._microphone = alices.microphone
        self._speaker = bobs.speaker
        self._clock = alices.microphone.clock

    def say(self, reference: Samples, settling: Samples | None = None) -> Heard:
        """Say `settling` (other speech, for the jitter buffer to settle) and `reference` after a short pause."""
        pause = np.zeros(round(PAUSE_S * RATE), np.float32)
        lead = np.zeros(0, np.float32) if settling is None else np.concatenate([settling, pause])
        tail = np.zeros(round(BEHIND_S * RATE), np.float32)
        with self._speaker.record() as tape:
            played = self._microphone.play(np.concatenate([lead, reference, tail]).astype(np.float32))
        tape = tape.stop()
        start = played.start_time + len(lead) / RATE
        recording = tape.between(start - BEFORE_S, start + len(reference) / RATE + BEHIND_S)
        since = time.time() - (self._clock.now() - start)
        span = (since, since + len(reference) / RATE + PAUSE_S)
        # Where the recorder itself paused, the sound server kept what it was to take; the browsers tell of themselves.
        drops = [drop for drop in (*played.drop_outs, *tape.drop_outs) if drop.kind is not DropOutKind.PAUSED]
        faults = [str(drop) for drop in drops]
        faults += starved("Alice", _run(self._alice, "history()"), span, Sound.SAID)
        faults += starved("Bob", _run(self._bob, "history()"), span, Sound.HEARD)
        if self._lossless:
            faults += concealed(_run(self._bob, "history()"), span)
        return Heard(np.asarray(reference, np.float32), recording, RATE, self.statistics(), tuple(faults))

    def mute(self, on: bool = True) -> None:
        """Switch Alice's microphone off in the page, as a mute button does, or on again."""
        self._alice.execute_script("speak(arguments[0])", not on)

    def statistics(self) -> dict[str, Any]:
        """Bob's inbound-rtp report."""
        reports = _run(self._bob, "statistics()")
        return next(report for report in reports if report["type"] == "inbound-rtp")


class Sound(IntEnum):
    """The columns of a browser's history behind the time: seconds taken in, seconds given out, samples concealed."""

    SAID = 1
    HEARD = 2
    CONCEALED = 3


def starved(who: str, history: Sequence[Sequence[float]], span: tuple[float, float], column: Sound) -> list[str]:
    """What a browser fell behind with its sound between two times: it did not get to run, and silence was heard."""
    inside = np.array([row for row in history if span[0] <= row[0] <= span[1]])
    if len(inside) < 2 or inside[-1, 0] - inside[0, 0] < 0.5 * (span[1] - span[0]):
        return [f"{who}'s browser did not run for most of the time"]
    behind = 1000 * (inside[:, 0] - inside[:, column])
    late = float(np.max(behind - np.minimum.accumulate(behind)))
    verb = "take in" if column is Sound.SAID else "give out"
    return [f"{who}'s browser could not {verb} {late:.0f} ms of sound in time"] if late > LATE_MS else []


def concealed(history: Sequence[Sequence[float]], span: tuple[float, float]) -> list[str]:
    """What Bob's browser had to conceal though no packet was lost: packets were on this machine and not handed on."""
    inside = [row[Sound.CONCEALED] for row in history if span[0] <= row[0] <= span[1]]
    milliseconds = 1000 * (inside[-1] - inside[0]) / RATE if inside else 0.0
    return [f"Bob's browser concealed {milliseconds:.0f} ms with no packet lost"] if milliseconds > CONCEALED_MS else []


@contextlib.contextmanager
def call(server: PulseServer, line: Line = Line()) -> Iterator[Call]:
    """A call that stands, between two browsers on virtual pairs of `server`."""
    with contextlib.ExitStack() as stack:
        page = stack.enter_context(_page())
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="labctl-call-", ignore_cleanup_errors=True))
        )
        number = next(_numbers)
        alices, bobs = (stack.enter_context(server.pair(f"{who}_{number}")) for who in ("alice", "bob"))
        with ThreadPoolExecutor() as pool:
            for check in pool.map(lambda end: end.check(), (alices.microphone, bobs.speaker)):
                if not check.bit_identical:
                    check.require_intact()
        alice = stack.enter_context(_browser(folder / "alice", alices, page))
        bob = stack.enter_context(_browser(folder / "bob", bobs, page))
        offer = _only_loopback(_run(alice, "offer()"))
        if line.loss_ratio:
            # Without Alice's addresses Bob can only answer to whoever calls him: the relay.
            offer = _without_candidates(offer)
        answer = _only_loopback(_run(bob, "answer(arguments[0])", offer))
        if line.bit_rate:
            answer = _with_bit_rate(answer, line.bit_rate)
        if not line.correction:
            answer = answer.replace("useinbandfec=1", "useinbandfec=0")
        if line.loss_ratio:
            relay = stack.enter_context(_lossy_relay(_first_port(answer), line))
            answer = _with_candidate(_without_candidates(answer), relay)
        _run(alice, "accept(arguments[0])", answer)
        deadline = time.monotonic() + CONNECT_TIMEOUT_S
        while {_run(side, "state()") for side in (alice, bob)} != {"connected"}:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the call did not stand within {CONNECT_TIMEOUT_S:.0f} s: {_run(bob, 'state()')}")
            time.sleep(0.05)
        yield Call(alice, bob, alices, bobs, lossless=not line.loss_ratio)


@contextlib.contextmanager
def _page() -> Iterator[str]:
    """The address of the call's page, served on loopback."""
    content = page_file("call").read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Browsers' requests are no news."""

    with http.server.ThreadingHTTPServer((LOOPBACK, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def _browser(folder: Path, pair: VirtualPair, page: str) -> Iterator[WebDriver]:
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in programs:
        raise FileNotFoundError("a call needs chromium and chromedriver; see tools/install-test-parts.sh")
    options = webdriver.ChromeOptions()
    options.binary_location = str(programs[0])
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "LC_ALL": "C.UTF-8", **pair.environment}
    launcher = folder.with_suffix(".sh")
    launcher.write_text(LAUNCHER.format(nice=PRECEDENCE, program=programs[1]))
    launcher.chmod(0o700)
    browser = webdriver.Chrome(options=options, service=Service(str(launcher), env=environment))
    try:
        browser.set_script_timeout(CONNECT_TIMEOUT_S)
        browser.get(page)
        yield browser
    finally:
        browser.quit()


def _run(browser: WebDriver, expression: str, *arguments: object) -> Any:
    """What the promise or value of `expression` comes to in the page."""
    script = (
        "const done = arguments[arguments.length - 1];"
        f"Promise.resolve({expression}).then(value => done({{value}}), error => done({{error: String(error)}}));"
    )
    came = browser.execute_async_script(script, *arguments)
    if "error" in came:
        raise RuntimeError(f"{expression} in the page: {came['error']}")
    return came.get("value")


# ---- session descriptions (RFC 8866, candidates after RFC 8839, Opus parameters after RFC 7587)


def _lines(sdp: str) -> list[str]:
    return sdp.split("\r\n")


def _only_loopback(sdp: str) -> str:
    """Without candidates of other addresses than loopback: the call must not leave the machine."""
    return "\r\n".join(line for line in _lines(sdp) if not line.startswith("a=candidate") or f" {LOOPBACK} " in line)


def _without_candidates(sdp: str) -> str:
    return "\r\n".join(line for line in _lines(sdp) if not line.startswith("a=candidate"))


def _with_candidate(sdp: str, port: int) -> str:
    return re.sub(r"(a=ice-ufrag)", rf"a=candidate:1 1 udp 2113937151 {LOOPBACK} {port} typ host\r\n\1", sdp, count=1)


def _first_port(sdp: str) -> int:
    found = re.search(rf"a=candidate:\S+ 1 udp \d+ {re.escape(LOOPBACK)} (\d+) typ host", sdp)
    if found is None:
        raise RuntimeError(f"the browser offers no loopback address: {sdp}")
    return int(found[1])


def _with_bit_rate(sdp: str, bit_rate: int) -> str:
    payload = re.search(r"a=rtpmap:(\d+) opus/48000", sdp)
    if payload is None:
        raise RuntimeError(f"the browser does not speak Opus: {sdp}")
    return re.sub(rf"(a=fmtp:{payload[1]} [^\r]*)", rf"\1;maxaveragebitrate={bit_rate}", sdp)


@contextlib.contextmanager
def _lossy_relay(target: int, line: Line) -> Iterator[int]:
    """A UDP port that passes packets on to `target` and back, but loses RTP on the way there."""
    draw = random.Random(line.seed)
    front, back = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    caller: list[tuple[str, int]] = []

    def carry(near: socket.socket, on: Callable[[bytes, tuple[str, int]], None]) -> None:
        with contextlib.suppress(OSError):
            while True:
                packet, sender = near.recvfrom(65_536)
                if sender is None:  # the socket was shut down
                    return
                on(packet, sender)

    def forward(packet: bytes, sender: tuple[str, int]) -> None:
        caller[:] = [sender]
        if not (_is_rtp(packet) and draw.random() < line.loss_ratio):
            back.sendto(packet, (LOOPBACK, target))

    def backward(packet: bytes, _: tuple[str, int]) -> None:
        if caller:
            front.sendto(packet, caller[0])

    with front, back:
        front.bind((LOOPBACK, 0))
        back.bind((LOOPBACK, 0))
        ways = ((front, forward), (back, backward))
        threads = [threading.Thread(target=carry, args=way, daemon=True) for way in ways]
        for thread in threads:
            thread.start()
        yield front.getsockname()[1]
        for end in (front, back):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(timeout=5)


def _is_rtp(packet: bytes) -> bool:
    """RTP and no RTCP, STUN or DTLS (RFC 7983 and RFC 5761)."""
    return len(packet) > 1 and 128 <= packet[0] <= 191 and not 192 <= packet[1] <= 223
