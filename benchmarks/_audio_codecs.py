"""Passes speech through real codecs by PyAV: Opus with lost packets, G.711, G.722, AMR, GSM-like ADPCM, MP3, AAC."""

from __future__ import annotations

from fractions import Fraction
from math import gcd

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from scipy.signal import correlate, resample_poly


def resample(signal: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Return the signal (N,) at another sample rate."""
    if rate == wanted:
        return signal
    common = gcd(rate, wanted)
    return resample_poly(signal, wanted // common, rate // common)


def code(
    signal: np.ndarray,
    rate: int,
    codec: str,
    codec_rate: int,
    *,
    bit_rate: int | None = None,
    lost: np.ndarray | None = None,
    decoder: str | None = None,
    **options: str,
) -> np.ndarray:
    """Return the signal (N,) encoded and decoded, back at its rate, the codec's own constant delay removed.

    `lost` (K,) says for each 20 ms packet whether it is lost on the way. For Opus the decoder is then given the
    table-of-contents byte of the last packet alone: a frame of no bytes, for which libopus runs its concealment
    (RFC 6716, section 3.2.1 and 4.4).
    """
    at_codec = resample(signal, rate, codec_rate)
    packets, layout = _encode(at_codec, codec, codec_rate, bit_rate, options)
    reader = av.CodecContext.create(decoder or codec, "r")
    assert isinstance(reader, AudioCodecContext)
    reader.sample_rate = codec_rate
    reader.layout = "mono"
    if layout:
        reader.extradata = layout
    pieces: list[np.ndarray] = []
    last = packets[0]
    rates = {codec_rate}
    for number, data in enumerate(packets):
        if lost is not None and number > 0 and number < len(lost) and lost[number]:
            frames = reader.decode(av.Packet(bytes([last[0] & 0xFC])))
        else:
            frames = reader.decode(av.Packet(data))
            last = data
        for frame in frames:
            rates.add(frame.sample_rate)
            pieces.append(_to_float(frame))
    pieces += [_to_float(frame) for frame in reader.decode(None)]
    rates.discard(codec_rate)
    decoded = np.concatenate(pieces)
    decoded = resample(decoded, next(iter(rates), codec_rate), rate)
    return remove_delay(signal, decoded, rate)


def remove_delay(signal: np.ndarray, decoded: np.ndarray, rate: int, reach_s: float = 0.15) -> np.ndarray:
    """Return the decoded signal shifted by whole samples to where it correlates best, as long as the signal (N,)."""
    reach = round(reach_s * rate)
    correlation = correlate(decoded, signal, method="fft")
    middle = len(signal) - 1
    shift = int(np.argmax(correlation[middle - reach : middle + reach])) - reach
    shifted = decoded[shift:] if shift >= 0 else np.concatenate([np.zeros(-shift), decoded])
    return np.pad(shifted[: len(signal)], (0, max(0, len(signal) - len(shifted))))


def _encode(
    signal: np.ndarray, codec: str, rate: int, bit_rate: int | None, options: dict[str, str]
) -> tuple[list[bytes], bytes | None]:
    writer = av.CodecContext.create(codec, "w")
    assert isinstance(writer, AudioCodecContext)
    formats = [item.name for item in writer.codec.audio_formats or []]
    sample_format = next((name for name in ("s16", "flt", "fltp", "s16p") if name in formats), formats[0])
    writer.sample_rate = rate
    writer.layout = "mono"
    writer.format = sample_format
    writer.time_base = Fraction(1, rate)
    if bit_rate:
        writer.bit_rate = bit_rate
    writer.options = options
    writer.open()
    size = writer.frame_size or rate // 50
    padded = np.pad(signal, (0, -len(signal) % size + size))
    packets: list[bytes] = []
    for start in range(0, len(padded), size):
        block = padded[None, start : start + size]
        samples = (
            np.round(np.clip(block, -1, 32767 / 32768) * 32768).astype(np.int16)
            if sample_format.startswith("s16")
            else block.astype(np.float32)
        )
        frame = av.AudioFrame.from_ndarray(samples, format=sample_format, layout="mono")
        frame.sample_rate = rate
        frame.pts = start
        packets += [bytes(packet) for packet in writer.encode(frame)]
    packets += [bytes(packet) for packet in writer.encode(None)]
    return packets, writer.extradata


def _to_float(frame: av.AudioFrame) -> np.ndarray:
    samples = frame.to_ndarray().reshape(-1)
    if samples.dtype == np.int16:
        return samples / 32768.0
    return samples.astype(float)
