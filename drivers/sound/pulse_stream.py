"""One stream to or from a pulse server, with everything the server tells about lost sound."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

import numpy as np

from drivers.clock import Clock
from drivers.errors import DeviceUnreachableError, SoundLoopError
from drivers.sound import libpulse
from drivers.sound.pauses import PauseWatch
from drivers.sound.timing import time_faults
from drivers.sound.types import Capture, DropOut, DropOutKind, Playback, Samples

CONNECT_TIMEOUT_S = 5.0
SAMPLE_BYTES = 4
# A sink that rendered ahead rewinds when a stream starts, and what its monitor gave out for that time is not corrected:
# so every signal is led in by silence, and led out so that its end is not cut by the stream's own end.
LEAD_S = 0.25
TAIL_S = 0.05


class Connection:
    """A connection to a pulse server with a thread of the client library's own. Close it, or use it as a context."""

    def __init__(self, server: str, name: str = "labctl") -> None:
        self.server = server
        self.changed = threading.Condition()
        self.failure = ""
        self._closed = False
        self.library = libpulse.load()
        self._loop = self.library.pa_threaded_mainloop_new()
        api = self.library.pa_threaded_mainloop_get_api(self._loop)
        self.context = self.library.pa_context_new(api, name.encode())
        self._on_state = libpulse.NotifyCallback(self._state_changed)
        self.library.pa_context_set_state_callback(self.context, self._on_state, None)
        self.library.pa_context_connect(self.context, server.encode(), libpulse.CONTEXT_NO_AUTOSPAWN, None)
        self._ready = False
        self.library.pa_threaded_mainloop_start(self._loop)
        if not self.wait(lambda: self._ready, CONNECT_TIMEOUT_S):
            reason = self.failure or f"no answer within {CONNECT_TIMEOUT_S:.0f} s"
            self.close()
            raise DeviceUnreachableError(
                f"the pulse server {server} could not be reached: {reason};"
                " see that it runs and that this user may use its socket"
            )

    def _state_changed(self, context: int, _: object) -> None:
        state = self.library.pa_context_get_state(context)
        with self.changed:
            if state == libpulse.CONTEXT_READY:
                self._ready = True
            elif state in (libpulse.CONTEXT_FAILED, libpulse.CONTEXT_TERMINATED) and not self._closed:
                error = self.library.pa_strerror(self.library.pa_context_errno(context))
                self.failure = error.decode(errors="replace") if error else "connection ended"
            self.changed.notify_all()

    @contextlib.contextmanager
    def locked(self) -> Iterator[ctypes.CDLL]:
        """The library, with its thread held off: every call on a context or stream needs this."""
        self.library.pa_threaded_mainloop_lock(self._loop)
        try:
            yield self.library
        finally:
            self.library.pa_threaded_mainloop_unlock(self._loop)

    def wait(self, reached: Callable[[], bool], timeout: float) -> bool:
        """Wait until `reached()`, a failure of the connection or `timeout` seconds; returns `reached()`."""
        with self.changed:
            self.changed.wait_for(lambda: reached() or bool(self.failure), timeout)
            return reached()

    def close(self) -> None:
        """End the connection and its thread."""
        if self._closed:
            return
        self._closed = True
        with self.locked():
            self.library.pa_context_disconnect(self.context)
        self.library.pa_threaded_mainloop_stop(self._loop)
        self.library.pa_context_unref(self.context)
        self.library.pa_threaded_mainloop_free(self._loop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Stream:
    """What streams of both directions share: their connection, state and notices of suspension."""

    def __init__(self, server: str, device: str, sample_rate: int, clock: Clock) -> None:
        self.device = device
        self.sample_rate = sample_rate
        self.clock = clock
        self.connection = Connection(server)
        self.library = self.connection.library
        self.ready = False
        self.suspended: list[tuple[float, bool]] = []
        self.starts: list[float] = []
        spec = libpulse.SampleSpec(libpulse.FORMAT_FLOAT32_LITTLE_ENDIAN, sample_rate, 1)
        self._keep: list[object] = []
        with self.connection.locked() as library:
            self.stream = library.pa_stream_new(self.connection.context, device.encode(), ctypes.byref(spec), None)
            library.pa_stream_set_state_callback(self.stream, self.notice(self._state_changed), None)
            library.pa_stream_set_suspended_callback(self.stream, self.notice(self._suspension_changed), None)

    def notice(self, function: Callable[[int, object], None]) -> object:
        """`function` as a C callback that lives as long as this stream."""
        callback = libpulse.NotifyCallback(function)
        self._keep.append(callback)
        return callback

    def request(self, function: Callable[[int, int, object], None]) -> object:
        """`function` as a C callback with a byte count."""
        callback = libpulse.RequestCallback(function)
        self._keep.append(callback)
        return callback

    def success(self, function: Callable[[int, int, object], None]) -> object:
        """`function` as a C callback with an outcome."""
        callback = libpulse.SuccessCallback(function)
        self._keep.append(callback)
        return callback

    def _state_changed(self, stream: int, _: object) -> None:
        state = self.library.pa_stream_get_state(stream)
        with self.connection.changed:
            if state == libpulse.STREAM_READY:
                self.ready = True
            elif state in (libpulse.STREAM_FAILED, libpulse.STREAM_TERMINATED) and not self.connection.failure:
                error = self.library.pa_strerror(self.library.pa_context_errno(self.connection.context))
                self.connection.failure = error.decode(errors="replace") if error else "stream ended"
            self.connection.changed.notify_all()

    def _suspension_changed(self, stream: int, _: object) -> None:
        self.suspended.append((self.clock.now(), self.library.pa_stream_is_suspended(stream) > 0))

    def note_time(self) -> None:
        """Note when, by the server's own reckoning of the stream's time, its first sample passed the device."""
        passed = ctypes.c_uint64()
        if self.library.pa_stream_get_time(self.stream, ctypes.byref(passed)) == 0 and passed.value:
            self.starts.append(self.clock.now() - passed.value / 1e6)

    def start_time(self, otherwise: float) -> float:
        return float(np.median(self.starts)) if self.starts else otherwise

    def wait_ready(self) -> None:
        if not self.connection.wait(lambda: self.ready, CONNECT_TIMEOUT_S):
            reason = self.connection.failure or f"no answer within {CONNECT_TIMEOUT_S:.0f} s"
            self.close()
            raise DeviceUnreachableError(
                f"the stream on {self.device} of {self.connection.server} did not start: {reason};"
                " list what is there with `pactl list short sinks` and `pactl list short sources`"
            )

    def suspensions(self, start: float, end: float) -> list[DropOut]:
        """The spans in which the device was suspended."""
        found = []
        began: float | None = None
        for when, on in [*self.suspended, (end, False)]:
            if on and began is None:
                began = when
            elif not on and began is not None:
                detail = f"{self.device} was suspended"
                found.append(DropOut(DropOutKind.SUSPENDED, max(0.0, began - start), when - began, detail))
                began = None
        return found

    def close(self) -> None:
        with self.connection.locked() as library:
            library.pa_stream_disconnect(self.stream)
            library.pa_stream_unref(self.stream)
        self.connection.close()


class PulseTape(_Stream):
    """A recording that runs: everything `source` gives from its making until `stop`.

    `fragment_s`: how often sound is handed over. `queue_s`: how long the server keeps sound for us when we are late.
    """

    def __init__(
        self,
        server: str,
        source: str,
        sample_rate: int,
        clock: Clock,
        *,
        fragment_s: float = 0.02,
        queue_s: float = 20.0,
    ) -> None:
        super().__init__(server, source, sample_rate, clock)
        self._blocks: list[bytes] = []
        self._frames = 0
        self._arrivals: list[tuple[float, int]] = []
        self._holes: list[DropOut] = []
        self._capture: Capture | None = None
        attributes = libpulse.BufferAttributes(
            maximum_length=round(queue_s * sample_rate) * SAMPLE_BYTES,
            target_length=libpulse.UNSET,
            prebuffering=libpulse.UNSET,
            minimum_request=libpulse.UNSET,
            fragment_size=round(fragment_s * sample_rate) * SAMPLE_BYTES,
        )
        flags = (
            libpulse.STREAM_ADJUST_LATENCY
            | libpulse.STREAM_DONT_MOVE
            | libpulse.STREAM_INTERPOLATE_TIMING
            | libpulse.STREAM_AUTO_TIMING_UPDATE
        )
        with self.connection.locked() as library:
            library.pa_stream_set_read_callback(self.stream, self.request(self._sound_came), None)
            library.pa_stream_connect_record(self.stream, source.encode(), ctypes.byref(attributes), flags)
        self.wait_ready()
        self._pauses = PauseWatch(clock)
        # Without a first block nothing is recorded yet: whoever plays next would lose the beginning.
        if not self.connection.wait(lambda: self._frames > 0, CONNECT_TIMEOUT_S):
            reason = self.connection.failure or f"no sound within {CONNECT_TIMEOUT_S:.0f} s"
            self._pauses.stop()
            self.close()
            raise SoundLoopError(
                f"recording from {source} of {server} gave nothing: {reason}; see that the source is not suspended"
            )

    def _sound_came(self, stream: int, _count: int, _: object) -> None:
        data = ctypes.c_void_p()
        size = ctypes.c_size_t()
        while self.library.pa_stream_peek(stream, ctypes.byref(data), ctypes.byref(size)) == 0 and size.value:
            if data.value is None:
                start = self._frames / self.sample_rate
                duration = size.value / SAMPLE_BYTES / self.sample_rate
                self._holes.append(DropOut(DropOutKind.OVERRUN, start, duration, "the server reports a hole"))
                self._blocks.append(bytes(size.value))
            else:
                self._blocks.append(ctypes.string_at(data.value, size.value))
            self._frames += size.value // SAMPLE_BYTES
            self.library.pa_stream_drop(stream)
        self._arrivals.append((self.clock.now(), self._frames))
        self.note_time()
        with self.connection.changed:
            self.connection.changed.notify_all()

    def stop(self) -> Capture:
        """End the recording, once what sounded until now has come in; what it holds. May be called again."""
        if self._capture is None:
            asked = self.clock.now()
            first, count = self._arrivals[0]
            due = round((asked - first) * self.sample_rate) + count
            self.connection.wait(lambda: self._frames >= due, 0.5)
            ended = self.clock.now()
            failure = self.connection.failure
            self._pauses.stop()
            self.close()
            arrivals = list(self._arrivals)
            if ended - arrivals[-1][0] > 0.1:
                arrivals.append((ended, arrivals[-1][1]))
            samples = np.frombuffer(b"".join(self._blocks), dtype="<f4")
            start = self.start_time(otherwise=first - count / self.sample_rate)
            drops = [*self._holes, *self.suspensions(start, ended)]
            drops += time_faults(arrivals, self.sample_rate, self._pauses.pauses)
            if failure:
                detail = f"the server went away: {failure}"
                drops.append(DropOut(DropOutKind.ENDED, len(samples) / self.sample_rate, 0.0, detail))
            self._capture = Capture(
                f"{self.device} of {self.connection.server}", samples, self.sample_rate, start, tuple(drops)
            )
        return self._capture

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _PulsePlayer(_Stream):
    """Plays one signal into a sink; the server holds `queue_s` of it, so that we may be late by that much."""

    def __init__(
        self, server: str, sink: str, samples: Samples, sample_rate: int, *, clock: Clock, queue_s: float
    ) -> None:
        super().__init__(server, sink, sample_rate, clock)
        self._frames = len(samples)
        lead, tail = round(LEAD_S * sample_rate), round(TAIL_S * sample_rate)
        self._data = np.concatenate([np.zeros(lead), samples, np.zeros(tail)]).astype("<f4").tobytes()
        self._buffer = (ctypes.c_char * len(self._data)).from_buffer_copy(self._data)
        self._written = 0
        self._drained = False
        self._underflows: list[tuple[float, int]] = []
        self._overflows = 0
        attributes = libpulse.BufferAttributes(
            maximum_length=libpulse.UNSET,
            target_length=round(queue_s * sample_rate) * SAMPLE_BYTES,
            # With none at all the server never acknowledges the draining of a short signal (PulseAudio 16).
            prebuffering=SAMPLE_BYTES,
            minimum_request=libpulse.UNSET,
            fragment_size=libpulse.UNSET,
        )
        # Started corked and let go once filled: the beginning is neither late nor short.
        flags = (
            libpulse.STREAM_START_CORKED
            | libpulse.STREAM_DONT_MOVE
            | libpulse.STREAM_INTERPOLATE_TIMING
            | libpulse.STREAM_AUTO_TIMING_UPDATE
        )
        with self.connection.locked() as library:
            library.pa_stream_set_write_callback(self.stream, self.request(self._more_wanted), None)
            library.pa_stream_set_underflow_callback(self.stream, self.notice(self._ran_dry), None)
            library.pa_stream_set_overflow_callback(self.stream, self.notice(self._ran_over), None)
            library.pa_stream_connect_playback(self.stream, sink.encode(), ctypes.byref(attributes), flags, None, None)
        self.wait_ready()

    def _more_wanted(self, stream: int, count: int, _: object) -> None:
        size = min(count - count % SAMPLE_BYTES, len(self._data) - self._written)
        if size:
            start = ctypes.addressof(self._buffer) + self._written
            self.library.pa_stream_write(stream, start, size, None, 0, libpulse.SEEK_RELATIVE)
            with self.connection.changed:
                self._written += size
                self.connection.changed.notify_all()

    def _ran_dry(self, stream: int, _: object) -> None:
        self._underflows.append((self.clock.now(), self.library.pa_stream_get_underflow_index(stream)))

    def _ran_over(self, _stream: int, _: object) -> None:
        self._overflows += 1

    def _wait(self, reached: Callable[[], bool], deadline: float) -> None:
        """Wait for `reached`, a failure or the deadline, and note the stream's time meanwhile."""
        while not reached() and not self.connection.failure and self.clock.now() < deadline:
            self.connection.wait(reached, 0.05)
            with self.connection.locked():
                self.note_time()

    def _let_go(self, _stream: int, _done: int, _: object) -> None:
        pass

    def _played_out(self, _stream: int, _done: int, _: object) -> None:
        with self.connection.changed:
            self._drained = True
            self.connection.changed.notify_all()

    def play(self) -> Playback:
        total = len(self._data)
        duration = total / SAMPLE_BYTES / self.sample_rate
        self.connection.wait(lambda: self._written > 0, CONNECT_TIMEOUT_S)
        started = self.clock.now()
        let_go, played_out = self.success(self._let_go), self.success(self._played_out)
        with self.connection.locked() as library:
            library.pa_operation_unref(library.pa_stream_cork(self.stream, 0, let_go, None))
        # A stalled server resumes or it does not: 5 s beyond the signal's own length tell.
        deadline = started + duration + 5.0
        self._wait(lambda: self._written >= total, deadline)
        if self._written >= total:
            with self.connection.locked() as library:
                library.pa_operation_unref(library.pa_stream_drain(self.stream, played_out, None))
            self._wait(lambda: self._drained, deadline)
        ended = self.clock.now()
        start = self.start_time(otherwise=started) + LEAD_S
        drops = self.suspensions(start, ended)
        for when, index in self._underflows:
            if 0 <= index < total:
                at = index / SAMPLE_BYTES / self.sample_rate - LEAD_S
                drops.append(DropOut(DropOutKind.UNDERRUN, at, 0.0, f"noticed {when - start:.3f} s after the start"))
        if self._overflows:
            drops.append(DropOut(DropOutKind.OVERRUN, 0.0, 0.0, f"{self._overflows} times too much was written"))
        if self.connection.failure:
            detail = f"the server went away: {self.connection.failure}"
            drops.append(DropOut(DropOutKind.ENDED, ended - start, 0.0, detail))
        elif not self._drained:
            at = self._written / SAMPLE_BYTES / self.sample_rate - LEAD_S
            drops.append(DropOut(DropOutKind.STALLED, at, ended - start - at, "the server took no more sound"))
        name = f"{self.device} of {self.connection.server}"
        return Playback(name, start, self._frames, self.sample_rate, tuple(drops))


def play(server: str, sink: str, samples: Samples, sample_rate: int, *, clock: Clock, queue_s: float = 2.0) -> Playback:
    """Play `samples` into `sink` and come back when the last has left; `queue_s`: how late we may be with data."""
    player = _PulsePlayer(server, sink, samples, sample_rate, clock=clock, queue_s=queue_s)
    try:
        return player.play()
    finally:
        player.close()
