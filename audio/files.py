"""Reads and writes WAV, FLAC and OGG; whatever a file says about itself, memory and time stay bounded."""

from __future__ import annotations

import io
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile  # type: ignore[import-untyped]  # ships no types; this module is its only user

from audio.errors import AudioFileError
from audio.recording import Array, Recording

_BLOCK_FRAMES = 1 << 16
_TAIL = 1 << 16  # an OGG page is at most this long
# What programs write for a length that they do not know yet: SoX and arecord these for the samples, with a whole that
# fits them; ffmpeg this for the whole and for the samples.
_UNKNOWN_SAMPLES = (0x7FFFF000, 0x80000000)
_UNKNOWN = 0xFFFFFFFF
_LEAST_STREAMED_S = 1.0  # less is a program that died as it began, or a header that lies


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may be. Beyond it the reader refuses; nothing is read or kept beyond it either."""

    max_bytes: int = 256 << 20
    max_duration_s: float = 1800.0
    max_channels: int = 2
    min_sample_rate: int = 8_000
    max_sample_rate: int = 192_000
    max_sample: float = 8.0  # lossy and floating-point files exceed full scale now and then


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known of a file that was read to its end. `silent`: every sample is zero."""

    container: str
    sample_rate: int
    channels: int
    frames: int
    duration_s: float
    silent: bool


DEFAULT_LIMITS = Limits()


def read_audio(source: str | Path | bytes, limits: Limits = DEFAULT_LIMITS) -> Recording:
    """Reads a whole WAV, FLAC or OGG file, given by path or as bytes: samples (N,), or (N, C) for several channels.

    Raises AudioFileError, with what was found and what to do, for whatever is empty, cut off, damaged, no audio, not
    finite or outside `limits`; silence is read like anything else. Memory is bounded by `limits`, not by what the
    header promises.
    """
    name, stream = _opened(source, limits)
    with stream:
        return _Reader(stream, name, limits).read()


def inspect_audio(source: str | Path | bytes, limits: Limits = DEFAULT_LIMITS) -> FileFacts:
    """Reads a file to its end, as `read_audio`, but keeps no samples. Raises the same."""
    name, stream = _opened(source, limits)
    with stream:
        return _Reader(stream, name, limits).inspect()


def write_audio(path: str | Path, samples: Array, sample_rate: int) -> None:
    """Writes (N,) or (N, C) in [-1, 1] as WAV or FLAC, by the path's ending; 16 bits, rounded, beyond full scale cut.

    Raises AudioFileError for another ending and OSError when it cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in (".wav", ".flac"):
        raise AudioFileError(f"{path.name}: only .wav and .flac are written")
    rounded = np.clip(np.round(samples * 32768), -32768, 32767).astype("<i2")
    with path.open("wb") as stream:
        soundfile.write(stream, rounded, sample_rate, subtype="PCM_16", format=path.suffix[1:].upper())


def _opened(source: str | Path | bytes, limits: Limits) -> tuple[str, BinaryIO]:
    if isinstance(source, bytes):
        if len(source) > limits.max_bytes:
            raise AudioFileError(f"the audio has {len(source)} bytes; at most {limits.max_bytes} are read")
        return "the audio", io.BytesIO(source)
    path = Path(source)
    try:
        if not path.is_file():
            raise AudioFileError(f"{path}: {'is no regular file' if path.exists() else 'there is no such file'}")
        size = path.stat().st_size
        if size > limits.max_bytes:
            raise AudioFileError(f"{path}: has {size} bytes; at most {limits.max_bytes} are read")
        return str(path), path.open("rb")
    except AudioFileError:
        raise
    except (OSError, ValueError) as exc:
        raise AudioFileError(f"{path}: cannot be read: {exc}") from None


class _Reader:
    """One pass over one file."""

    def __init__(self, stream: BinaryIO, name: str, limits: Limits) -> None:
        self.stream = stream
        self.name = name
        self.limits = limits
        self.container = self._container()
        self._silent = True

    def read(self) -> Recording:
        blocks: list[Array] = []
        rate, channels, frames = self._pass(blocks)
        samples = np.empty((frames, channels))
        at = 0
        while blocks:  # let go of each as it is copied
            block = blocks.pop(0)
            samples[at : at + len(block)] = block
            at += len(block)
        return Recording(samples[:, 0] if channels == 1 else samples, rate, Path(self.name).name)

    def inspect(self) -> FileFacts:
        rate, channels, frames = self._pass(None)
        return FileFacts(self.container, rate, channels, frames, frames / rate, self._silent)

    def _pass(self, blocks: list[Any] | None) -> tuple[int, int, int]:
        try:
            with soundfile.SoundFile(self.stream) as file:
                rate, channels, promised = int(file.samplerate), int(file.channels), int(file.frames)
                self._check_format(rate, channels, promised)
                frames = self._blocks(file, rate, blocks)
        except AudioFileError:
            raise
        except (soundfile.SoundFileError, RuntimeError, OverflowError, ValueError, MemoryError) as exc:
            raise self._error(
                f"is damaged, {self.container} cannot be decoded ({str(exc).rpartition('>: ')[2]})"
            ) from None
        if frames == 0:
            raise self._error("holds no samples; was the recording stopped before it began?")
        if 0 < frames < promised and self.container != "OGG":
            raise self._error(
                f"is cut off: {frames / rate:.2f} s of {promised / rate:.2f} s are there; copy or record it again"
            )
        return rate, channels, frames

    def _blocks(self, file: Any, rate: int, blocks: list[Any] | None) -> int:
        most = int(self.limits.max_duration_s * rate)
        frames = 0
        while len(block := file.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
            frames += len(block)
            if frames > most:
                raise self._error(self._too_long(f"more than {most / rate:g}"))
            largest = float(np.max(np.abs(block)))  # NaN and infinity come through
            if not math.isfinite(largest):
                raise self._error("has samples that are no numbers (NaN or infinite); export it again as 16-bit WAV")
            if largest > self.limits.max_sample:
                raise self._error(
                    f"has samples up to {largest:.3g} where full scale is 1; floating point must be scaled to -1..1"
                )
            self._silent = self._silent and largest == 0
            if blocks is not None:
                blocks.append(block)
        return frames

    def _check_format(self, rate: int, channels: int, promised: int) -> None:
        limits = self.limits
        if not limits.min_sample_rate <= rate <= limits.max_sample_rate:
            raise self._error(
                f"has a sample rate of {rate} Hz; {limits.min_sample_rate} to {limits.max_sample_rate} Hz can be used"
            )
        if not 1 <= channels <= limits.max_channels:
            raise self._error(f"has {channels} channels; at most {limits.max_channels} can be used: extract one")
        if promised > limits.max_duration_s * rate:
            raise self._error(self._too_long(f"by its header {promised / rate:g}"))

    def _too_long(self, seconds: str) -> str:
        return f"lasts {seconds} s; at most {self.limits.max_duration_s:g} s are read: cut it into pieces"

    def _container(self) -> str:
        """Which of the three it is, by its first bytes; what the container itself says of its length is checked."""
        size = self.stream.seek(0, io.SEEK_END)
        self.stream.seek(0)
        head = self.stream.read(12)
        self.stream.seek(0)
        if not head:
            raise self._error("is empty")
        if head[:4] in (b"RIFF", b"RIFX", b"RF64") and (head[8:12] in (b"WAVE", b"")):
            self._check_wav(size)
            return "WAV"
        if head[:4] == b"fLaC":
            return "FLAC"
        if head[:4] == b"OggS":
            self._check_ogg(size)
            return "OGG"
        raise self._error("is no WAV, FLAC or OGG file; convert it, for instance with ffmpeg -i IN -c:a flac OUT.flac")

    def _check_wav(self, size: int) -> None:
        """Walks the chunks: the samples must all be there. libsndfile reads what there is and says nothing.

        A program that writes into a pipe can't come back to say how much it was: then what is there counts.
        """
        order = ">" if self.stream.read(4) == b"RIFX" else "<"
        (whole,) = struct.unpack(f"{order}I", self.stream.read(4).ljust(4, b"\0"))
        position = 12
        data_size_of_rf64 = bytes_per_s = 0
        while position + 8 <= size:
            self.stream.seek(position)
            kind, length = struct.unpack(f"{order}4sI", self.stream.read(8))
            if kind == b"ds64" and position + 24 <= size:
                data_size_of_rf64 = struct.unpack("<8xQ", self.stream.read(16))[0]
            if kind == b"fmt " and position + 20 <= size:
                (bytes_per_s,) = struct.unpack(f"{order}8xI", self.stream.read(12))
            if kind == b"data":
                if length == _UNKNOWN and data_size_of_rf64:
                    length = data_size_of_rf64
                here = size - position - 8
                unknown = length == whole == _UNKNOWN or (length in _UNKNOWN_SAMPLES and whole == position + length)
                streamed = unknown and here >= max(_LEAST_STREAMED_S * bytes_per_s, 1)
                if length > here and not streamed:
                    raise self._error(
                        f"is cut off, or its header was never finished: it promises {length} bytes of samples and "
                        f"{here} are there; copy, record or export it again"
                    )
                self.stream.seek(0)
                return
            position += 8 + length + length % 2
        raise self._error("is cut off or damaged: its header announces no samples")

    def _check_ogg(self, size: int) -> None:
        """The last page must say that it is the last one, and be whole (RFC 3533, section 6)."""
        self.stream.seek(max(size - _TAIL, 0))
        tail = self.stream.read()
        last = tail.rfind(b"OggS")
        page = tail[last:] if last >= 0 else b""
        whole = len(page) >= 27 and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])
        if not whole or not page[5] & 4:
            raise self._error("is cut off: its last page is missing; copy or record it again")
        self.stream.seek(0)

    def _error(self, what: str) -> AudioFileError:
        return AudioFileError(f"{self.name} {what}")
