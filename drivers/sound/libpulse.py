"""The few calls of libpulse (PulseAudio's own client library) that streaming needs, declared for ctypes.

Source: the client library's reference, PulseAudio 16 (pulse/def.h, context.h, stream.h, thread-mainloop.h). PipeWire's
pulse server speaks the same protocol to the same library.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_int64, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p

from drivers.errors import DeviceUnreachableError

CONTEXT_NO_AUTOSPAWN = 0x1
CONTEXT_READY = 4
CONTEXT_FAILED = 5
CONTEXT_TERMINATED = 6
STREAM_READY = 2
STREAM_FAILED = 3
STREAM_TERMINATED = 4
STREAM_START_CORKED = 0x1
STREAM_INTERPOLATE_TIMING = 0x2
STREAM_AUTO_TIMING_UPDATE = 0x8
STREAM_DONT_MOVE = 0x200
STREAM_ADJUST_LATENCY = 0x2000
FORMAT_FLOAT32_LITTLE_ENDIAN = 5
SEEK_RELATIVE = 0
UNSET = 0xFFFFFFFF

NotifyCallback = CFUNCTYPE(None, c_void_p, c_void_p)
RequestCallback = CFUNCTYPE(None, c_void_p, c_size_t, c_void_p)
SuccessCallback = CFUNCTYPE(None, c_void_p, c_int, c_void_p)


class SampleSpec(ctypes.Structure):
    """pa_sample_spec."""

    _fields_ = (("format", c_int), ("rate", c_uint32), ("channels", c_uint8))


class BufferAttributes(ctypes.Structure):
    """pa_buffer_attr, all in bytes; UNSET leaves one to the server."""

    _fields_ = (
        ("maximum_length", c_uint32),
        ("target_length", c_uint32),
        ("prebuffering", c_uint32),
        ("minimum_request", c_uint32),
        ("fragment_size", c_uint32),
    )


_SIGNATURES: dict[str, tuple[object, list[object]]] = {
    "pa_strerror": (c_char_p, [c_int]),
    "pa_threaded_mainloop_new": (c_void_p, []),
    "pa_threaded_mainloop_free": (None, [c_void_p]),
    "pa_threaded_mainloop_start": (c_int, [c_void_p]),
    "pa_threaded_mainloop_stop": (None, [c_void_p]),
    "pa_threaded_mainloop_lock": (None, [c_void_p]),
    "pa_threaded_mainloop_unlock": (None, [c_void_p]),
    "pa_threaded_mainloop_get_api": (c_void_p, [c_void_p]),
    "pa_context_new": (c_void_p, [c_void_p, c_char_p]),
    "pa_context_connect": (c_int, [c_void_p, c_char_p, c_int, c_void_p]),
    "pa_context_disconnect": (None, [c_void_p]),
    "pa_context_unref": (None, [c_void_p]),
    "pa_context_get_state": (c_int, [c_void_p]),
    "pa_context_errno": (c_int, [c_void_p]),
    "pa_context_set_state_callback": (None, [c_void_p, NotifyCallback, c_void_p]),
    "pa_stream_new": (c_void_p, [c_void_p, c_char_p, POINTER(SampleSpec), c_void_p]),
    "pa_stream_unref": (None, [c_void_p]),
    "pa_stream_get_state": (c_int, [c_void_p]),
    "pa_stream_is_suspended": (c_int, [c_void_p]),
    "pa_stream_connect_record": (c_int, [c_void_p, c_char_p, POINTER(BufferAttributes), c_int]),
    "pa_stream_connect_playback": (
        c_int,
        [c_void_p, c_char_p, POINTER(BufferAttributes), c_int, c_void_p, c_void_p],
    ),
    "pa_stream_disconnect": (c_int, [c_void_p]),
    "pa_stream_peek": (c_int, [c_void_p, POINTER(c_void_p), POINTER(c_size_t)]),
    "pa_stream_drop": (c_int, [c_void_p]),
    "pa_stream_write": (c_int, [c_void_p, c_void_p, c_size_t, c_void_p, c_int64, c_int]),
    "pa_stream_cork": (c_void_p, [c_void_p, c_int, SuccessCallback, c_void_p]),
    "pa_stream_drain": (c_void_p, [c_void_p, SuccessCallback, c_void_p]),
    "pa_stream_get_time": (c_int, [c_void_p, POINTER(c_uint64)]),
    "pa_stream_get_underflow_index": (c_int64, [c_void_p]),
    "pa_stream_set_state_callback": (None, [c_void_p, NotifyCallback, c_void_p]),
    "pa_stream_set_read_callback": (None, [c_void_p, RequestCallback, c_void_p]),
    "pa_stream_set_write_callback": (None, [c_void_p, RequestCallback, c_void_p]),
    "pa_stream_set_underflow_callback": (None, [c_void_p, NotifyCallback, c_void_p]),
    "pa_stream_set_overflow_callback": (None, [c_void_p, NotifyCallback, c_void_p]),
    "pa_stream_set_suspended_callback": (None, [c_void_p, NotifyCallback, c_void_p]),
    "pa_operation_unref": (None, [c_void_p]),
}


@functools.cache
def load() -> ctypes.CDLL:
    """The client library, with its calls declared.

    Raises DeviceUnreachableError when it is not installed.
    """
    try:
        library = ctypes.CDLL(ctypes.util.find_library("pulse") or "libpulse.so.0")
    except OSError as exc:
        raise DeviceUnreachableError(
            f"PulseAudio's client library libpulse.so.0 could not be loaded: {exc};"
            " on Debian: apt-get install libpulse0 pulseaudio-utils"
        ) from exc
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library
