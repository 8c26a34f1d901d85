"""Makes the four standard voices and their catalogue: `python -m audio.reference.make FOLDER`.

Needs the Debian packages festival, festvox-us-slt-hts, flite and espeak-ng. Each engine speaks at its own rate; what
it lacks above its band is added from the envelope of its own fricatives, so that narrow, wide, super-wide and full band
can be told apart. Running it twice gives the same samples; other releases of the engines may give other ones, which is
why the voices themselves are in the repository.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, firwin, firwin2, resample_poly, sosfiltfilt

from audio.files import read_audio, write_audio
from audio.level import active_speech_level

Array = NDArray[np.float64]

RATE = 48_000
LEVEL_DBOV = -26.0
LEAD_S, PAUSE_S, TAIL_S = 0.3, 0.5, 0.3
FLOOR_DBOV = -84.0  # a quiet room: pauses are never digital zero, so a drop-out inside one can be seen
FRICATIVE_BAND_HZ = (4_000.0, 7_000.0)  # every engine has it, and its envelope is that of friction and bursts
FULL_FRICATION = 0.25  # share of a moment's energy in that band from which on it is all friction
HIGHEST_HZ = 17_000.0


@dataclass(frozen=True, slots=True)
class Voice:
    """A talker: the engine's command (text on standard input, `{out}` is the file to write) and what is said."""

    name: str
    talker: str
    engine: str
    command: tuple[str, ...]
    text_as_argument: bool
    band_hz: float  # up to where the engine's own sound goes
    sentences: tuple[str, ...]


VOICES = (
    Voice(
        "female_1",
        "female, US English",
        "festival, cmu_us_slt_arctic_hts",
        ("text2wave", "-eval", "(voice_cmu_us_slt_arctic_hts)", "-o", "{out}"),
        False,
        15_000.0,
        (
            "Judy thought the yellow boat would vanish behind the harbour fog.",
            "Six fresh figs and a jar of honey cost her nine pounds.",
            "Please measure the width of each shelf before you choose.",
        ),
    ),
    Voice(
        "female_2",
        "female, British English",
        "espeak-ng, en-gb-x-rp+f2",
        ("espeak-ng", "-v", "en-gb-x-rp+f2", "-s", "185", "-w", "{out}", "--stdin"),
        False,
        10_500.0,
        (
            "Our cousin Beth usually paints tiny ships on smooth white stones.",
            "The chef put garlic, thyme and cheese into both round loaves.",
            "Why did Zoe refuse a lift once the voyage was over?",
        ),
    ),
    Voice(
        "male_1",
        "male, US English",
        "flite, rms",
        ("flite", "-voice", "rms", "--setf", "duration_stretch=0.82", "-o", "{out}", "-t"),
        True,
        7_300.0,
        (
            "Two young foxes lay asleep under the old garage this morning.",
            "Pick up some thick rope, since that path is slippery with frozen mud.",
            "He joined the village choir, though nobody asked him to sing.",
        ),
    ),
    Voice(
        "male_2",
        "male, Scottish English",
        "flite, awb",
        ("flite", "-voice", "awb", "--setf", "duration_stretch=0.95", "-o", "{out}", "-t"),
        True,
        7_300.0,
        (
            "A huge zinc bath stood beneath the window of the book shop.",
            "Father explained which fuse our engineer should have replaced.",
            "Low cloud and steady rain covered every valley by Thursday.",
        ),
    ),
)


def speak(voice: Voice, sentence: str) -> Array:
    """The sentence, (N,) at 48 kHz as the engine speaks it, silence at both ends cut off."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "said.wav"
        command = [part.format(out=path) for part in voice.command]
        if voice.text_as_argument:
            subprocess.run([*command, sentence], check=True, capture_output=True)
        else:
            subprocess.run(command, input=sentence.encode(), check=True, capture_output=True)
        said = read_audio(path)
    samples, rate = said.samples, said.sample_rate
    divisor = gcd(RATE, rate)
    upsampled = resample_poly(samples, RATE // divisor, rate // divisor, window=("kaiser", 9.0))
    loud = np.flatnonzero(np.abs(upsampled) > 0.01 * np.abs(upsampled).max())
    margin = RATE // 50
    spoken = upsampled[max(loud[0] - margin, 0) : loud[-1] + margin]
    images = firwin(1025, voice.band_hz, fs=RATE)  # what is left of them after the change of rate
    spoken = np.convolve(spoken, images, mode="same")
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.arange(margin // 2) / (margin // 2))
    spoken[: len(ramp)] *= ramp
    spoken[-len(ramp) :] *= ramp[::-1]
    return np.asarray(spoken, dtype=np.float64)


def extend(said: Array, band_hz: float, noise: np.random.Generator) -> Array:
    """`said`, (N,), with noise above `band_hz` that follows its fricatives, falling by 20 dB to `HIGHEST_HZ`."""
    fricative = sosfiltfilt(butter(4, FRICATIVE_BAND_HZ, "bandpass", fs=RATE, output="sos"), said)
    smooth = butter(2, 60.0, fs=RATE, output="sos")
    friction = np.maximum(sosfiltfilt(smooth, fricative**2), 0)
    everything = np.maximum(sosfiltfilt(smooth, said**2), 1e-12)
    weight = np.clip(friction / everything / FULL_FRICATION, 0, 1)
    width = FRICATIVE_BAND_HZ[1] - FRICATIVE_BAND_HZ[0]
    per_hertz = np.sqrt(friction * weight / width)
    hertz = [0, 0.97 * band_hz, 1.03 * band_hz, HIGHEST_HZ, 1.05 * HIGHEST_HZ, RATE / 2]
    start_db = -20 * (band_hz - FRICATIVE_BAND_HZ[1]) / (HIGHEST_HZ - FRICATIVE_BAND_HZ[1])
    gains = [0, 0, 10 ** (start_db / 20), 0.1, 0, 0]
    shape = firwin2(1025, hertz, gains, fs=RATE)
    hiss = np.convolve(noise.standard_normal(len(said)) * np.sqrt(RATE / 2), shape, mode="same")
    extended: Array = said + hiss * per_hertz
    return extended


def make(voice: Voice) -> Array:
    """The whole reference, (N,) at 48 kHz with an active level of -26 dBov."""
    noise = np.random.default_rng(int.from_bytes(hashlib.sha256(voice.name.encode()).digest()[:8], "big"))
    parts = [np.zeros(int(LEAD_S * RATE))]
    for number, sentence in enumerate(voice.sentences):
        parts += [np.zeros(int(PAUSE_S * RATE))] if number else []
        parts.append(extend(speak(voice, sentence), voice.band_hz, noise))
    parts.append(np.zeros(int(TAIL_S * RATE)))
    signal = np.concatenate(parts)
    signal = sosfiltfilt(butter(2, 50.0, "highpass", fs=RATE, output="sos"), signal)
    signal *= _gain_to_level(signal)
    signal += noise.standard_normal(len(signal)) * 10 ** (FLOOR_DBOV / 20)
    signal *= _gain_to_level(signal)
    peak = np.abs(signal).max()
    if peak > 0.98:
        raise SystemExit(f"{voice.name} would clip: its peak is {peak:.2f}")
    return np.asarray(signal, dtype=np.float64)


def _gain_to_level(signal: Array) -> float:
    return float(10 ** ((LEVEL_DBOV - active_speech_level(signal, RATE).level_dbov) / 20))


def main(folder: Path) -> None:
    """Writes the voices as FLAC and `catalogue.json` into `folder`."""
    entries = []
    for voice in VOICES:
        samples = np.round(make(voice) * 32768).astype("<i2")
        path = folder / f"{voice.name}.flac"
        write_audio(path, samples / 32768, RATE)
        level = active_speech_level(samples / 32768, RATE)
        entries.append(
            {
                "name": voice.name,
                "file": path.name,
                "talker": voice.talker,
                "engine": voice.engine,
                "sample_rate": RATE,
                "samples": len(samples),
                "duration_s": round(len(samples) / RATE, 3),
                "active_level_dbov": round(level.level_dbov, 2),
                "activity_ratio": round(level.ratio, 4),
                "sha256_of_samples": hashlib.sha256(samples.tobytes()).hexdigest(),
                "sentences": list(voice.sentences),
            }
        )
        print(f"{path.name}: {entries[-1]['duration_s']} s, {entries[-1]['activity_ratio']} active")
    document = {"voices": entries}
    (folder / "catalogue.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
