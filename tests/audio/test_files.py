"""Files as they come: good ones are read exactly, all others are refused with a sentence that says what to do."""

import io
import re
import struct
import tracemalloc

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from audio import AudioFileError, read_audio
from audio.files import Limits, inspect_audio, write_audio

RATE = 16_000


def encoded(samples, rate=RATE, container="WAV", subtype="PCM_16"):
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=container, subtype=subtype)
    return stream.getvalue()


@pytest.fixture(scope="module")
def speechlike():
    return np.round(0.2 * np.random.default_rng(5).standard_normal(RATE).clip(-4, 4) * 32768) / 32768


def test_what_is_written_is_read_back_bit_for_bit(tmp_path, speechlike):
    for name in ("sound.wav", "sound.flac"):
        write_audio(tmp_path / name, speechlike, RATE)
        recording = read_audio(tmp_path / name)
        assert np.array_equal(recording.samples, speechlike)
        assert (recording.sample_rate, recording.name) == (RATE, name)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
def test_wav_of_any_encoding_is_read(subtype, speechlike):
    recording = read_audio(encoded(speechlike, subtype=subtype))
    assert np.corrcoef(recording.samples, speechlike)[0, 1] > 0.99


def test_ogg_and_two_channels_are_read():
    wave = 0.3 * np.sin(np.arange(RATE) / 8)
    stereo = np.column_stack((wave, -wave))
    recording = read_audio(encoded(stereo, container="OGG", subtype="VORBIS"))
    assert (recording.channels, recording.samples.shape) == (2, (RATE, 2))
    assert np.abs(recording.mono().samples).max() < 0.1


def test_silence_is_read_and_reported_as_such():
    facts = inspect_audio(encoded(np.zeros(RATE)))
    assert (facts.silent, facts.duration_s, facts.container) == (True, 1.0, "WAV")
    assert not inspect_audio(encoded(np.full(RATE, 0.1))).silent


def _wav(data_bytes, promised, *, fmt=b"", kind=1, channels=1, rate=RATE):
    fmt = fmt or struct.pack("<HHIIHH", kind, channels, rate, rate * 2 * channels, 2 * channels, 16)
    chunks = b"fmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", promised) + data_bytes
    return b"RIFF" + struct.pack("<I", (4 + len(chunks)) & 0xFFFFFFFF) + b"WAVE" + chunks


def _streamed(data_bytes, whole, promised):
    wav = bytearray(_wav(data_bytes, promised))
    wav[4:8] = struct.pack("<I", whole)
    return bytes(wav)


def _flac_promising(frames, speechlike):
    whole = bytearray(encoded(speechlike, container="FLAC"))
    total = frames & 0xFFFFFFFFF
    whole[21] = (whole[21] & 0xF0) | total >> 32
    whole[22:26] = struct.pack(">I", total & 0xFFFFFFFF)
    return bytes(whole)


def hostile(speechlike):
    wav, flac = encoded(speechlike), encoded(speechlike, container="FLAC")
    ogg = encoded(speechlike, container="OGG", subtype="VORBIS")
    poisoned = speechlike.astype(np.float32)
    poisoned[500] = np.nan
    infinite = speechlike.astype(np.float32)
    infinite[500] = np.inf
    return {
        "empty": (b"", "is empty"),
        "one byte": (b"R", "is no WAV, FLAC or OGG"),
        "text": (b"Hello, this is not audio at all, only text.", "is no WAV, FLAC or OGG"),
        "mp3": (b"ID3\x04" + bytes(500), "is no WAV, FLAC or OGG"),
        "a RIFF that is a film": (b"RIFF\x00\x10\x00\x00AVI LIST" + bytes(99), "is no WAV, FLAC or OGG"),
        "no samples": (encoded(np.zeros(0)), "no samples"),
        "header only": (wav[:40], "cut off"),
        "cut off WAV": (wav[:-1000], "cut off"),
        "cut off FLAC": (flac[: len(flac) // 2], "cut off|damaged"),
        "cut off OGG": (ogg[: len(ogg) - 100], "cut off"),
        "promises 4 GiB": (_wav(bytes(3000), 0xFFFFFFFE), "cut off, or its header was never finished"),
        "promises 4 GiB in every place": (_streamed(bytes(32000), 0xFFFFFFFF, 0xFFFFFFF0), "cut off, or its"),
        "streamed, and died at once": (_streamed(bytes(3000), 0xFFFFFFFF, 0xFFFFFFFF), "promises 4294967295"),
        "streamed, and nothing came": (_streamed(b"", 0xFFFFFFFF, 0xFFFFFFFF), "cut off, or its header was never fin"),
        "FLAC that promises weeks": (_flac_promising(2**36 - 1, speechlike), "lasts by its header"),
        "FLAC that promises minutes": (_flac_promising(100 * RATE, speechlike), "cut off|damaged"),
        "NaN": (encoded(poisoned, subtype="FLOAT"), "no numbers"),
        "infinity": (encoded(infinite, subtype="FLOAT"), "no numbers"),
        "not scaled": (encoded(speechlike * 32768, subtype="FLOAT"), "scaled to -1"),
        "7 channels": (encoded(np.tile(speechlike[:, None], (1, 7))), "7 channels"),
        "1 kHz": (encoded(speechlike, rate=1000), "sample rate of 1000 Hz"),
        "a gigahertz": (_wav(bytes(3000), 3000, rate=1_000_000_000), "sample rate"),
        "zero hertz": (_wav(bytes(3000), 3000, rate=0), "sample rate|damaged"),
        "3 hours": (encoded(np.zeros(3 * 3600 * 8000, dtype=np.int16), rate=8000, container="FLAC"), "10800 s"),
        "unknown encoding": (_wav(bytes(3000), 3000, kind=0x1234), "damaged"),
        "format chunk of rubbish": (_wav(bytes(300), 300, fmt=b"\xff" * 16), "damaged|sample rate|channels"),
    }


def test_each_bad_file_is_refused_with_its_reason(speechlike):
    for what, (content, reason) in hostile(speechlike).items():
        for take in (read_audio, inspect_audio):
            with pytest.raises(AudioFileError) as refusal:
                take(content)
            assert re.search(reason, str(refusal.value)), what


@pytest.mark.parametrize(
    ("whole", "promised"),
    [(0xFFFFFFFF, 0xFFFFFFFF), (0x7FFFF024, 0x7FFFF000), (0x80000024, 0x80000000)],
    ids=["ffmpeg", "sox", "arecord"],
)
@pytest.mark.parametrize("extra", [b"", b"\x01"], ids=["whole samples", "half a sample at the end"])
def test_what_was_streamed_through_a_pipe_is_read_as_far_as_it_goes(speechlike, whole, promised, extra):
    sent = np.round(speechlike * 32768).astype("<i2")
    content = _streamed(sent.tobytes() + extra, whole, promised)
    tracemalloc.start()
    recording = read_audio(content)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    assert np.array_equal(recording.samples * 32768, sent)
    assert inspect_audio(content).frames == len(sent)


def test_memory_does_not_follow_the_header(speechlike):
    content = _flac_promising(1700 * RATE, speechlike)  # within the limits, had it been true
    tracemalloc.start()
    with pytest.raises(AudioFileError):
        read_audio(content)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_inspecting_a_long_file_keeps_no_samples():
    content = encoded(np.zeros(1700 * 8000, dtype=np.int16), rate=8000, container="FLAC")
    tracemalloc.start()
    assert inspect_audio(content).duration_s == 1700
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_limits_can_be_set(speechlike):
    content = encoded(speechlike)
    assert read_audio(content, Limits(max_duration_s=1)).duration_s == 1
    with pytest.raises(AudioFileError, match=r"lasts by its header 1 s; at most 0.5 s"):
        read_audio(content, Limits(max_duration_s=0.5))
    with pytest.raises(AudioFileError, match="at most 1000 are read"):
        read_audio(content, Limits(max_bytes=1000))
    assert read_audio(encoded(np.tile(speechlike[:, None], (1, 7))), Limits(max_channels=8)).channels == 7


@pytest.mark.parametrize("what", ["absent.wav", "folder", "bad\0name"])
def test_a_path_that_is_no_file_is_refused(tmp_path, what):
    (tmp_path / "folder").mkdir()
    with pytest.raises(AudioFileError, match=r"no such file|no regular file|cannot be read"):
        read_audio(f"{tmp_path}/{what}")


@settings(max_examples=150, deadline=None)
@given(data=st.data(), container=st.sampled_from([("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")]))
def test_a_damaged_file_is_read_or_refused_and_nothing_else(data, container):
    wave = 0.3 * np.sin(np.arange(2000) / 5)
    content = bytearray(encoded(wave, 8000, *container))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    try:
        recording = read_audio(bytes(content[: cut or None]))
    except AudioFileError:
        return
    assert np.isfinite(recording.samples).all()
    assert len(recording.samples) > 0


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", b"RIFF\xff\xff\xff\xffWAVE", b"fLaC", b"OggS", b"RF64"]))
def test_rubbish_is_refused(rubbish, start):
    with pytest.raises(AudioFileError):
        read_audio(start + rubbish)
