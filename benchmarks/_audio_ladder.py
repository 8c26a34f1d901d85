"""Talkers and a ladder of degradations for measuring the perceptual score; a part of both is never tuned on."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from _audio_codecs import code, resample
from _time_warps import drift, jitter_buffer, jumps, mute, pauses
from scipy.signal import butter, firwin, lfilter, oaconvolve, sosfilt

from audio import reference

SPEECH = Path(__file__).resolve().parents[2] / "shared" / "data" / "speech"
LEVEL_DBOV = -26.0
SENTENCES = (
    "A grey cat slept behind the warm stove while snow fell outside.",
    "Five boxes of fresh oranges were shipped to the harbour before noon.",
    "She asked him twice which road would lead them back to the village.",
    "Their youngest teacher enjoys measuring thunder from the old church tower.",
)
GERMAN = (
    "Der alte Gärtner schneidet im Herbst die hohen Hecken am Fluss.",
    "Zwei junge Frauen tragen einen schweren Koffer über die Brücke.",
    "Heute Abend spielt die Kapelle wieder im kleinen Saal am Markt.",
)
FRENCH = (
    "Le vieux facteur pousse son vélo sous la pluie jusqu'au village.",
    "Chaque matin, ma voisine achète du pain frais et trois journaux.",
    "On a trouvé deux clés rouillées derrière le mur du jardin.",
)
ITALIAN = (
    "Il vecchio pescatore ripara la rete seduto davanti alla casa.",
    "Domani mattina compriamo pane fresco e due bottiglie di latte.",
    "La strada che scende al fiume era coperta di foglie gialle.",
)
# Recorded talkers, American and Mexican, of Debian's asterisk-core-sounds-*-g722.
PROMPTS = {
    "en_US_f_Allison": (
        "queue-callswaiting",
        "vm-tomakecall",
        "vm-toenternumber",
        "conf-adminmenu-162",
        "vm-options",
    ),
    "es_MX_f_Allison": ("conf-adminmenu-162", "conf-waitforleader", "agent-newlocation", "vm-options"),
}
Degrade = Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class Talker:
    """Speech (N,) of about 10 s at -26 dBov active level. `held_out`: no parameter was chosen by looking at it."""

    name: str
    samples: np.ndarray
    sample_rate: int
    held_out: bool


@dataclass(frozen=True)
class Condition:
    """A degradation. Within a `family`, severity rises; `pesq` tells whether PESQ is a valid judge of it."""

    family: str
    severity: float
    degrade: Degrade
    pesq: bool = False
    held_out: bool = False
    steady: bool = True  # constant delay

    @property
    def name(self) -> str:
        return f"{self.family} {self.severity:g}"


def talkers(sample_rate: int) -> Iterator[Talker]:
    """Yield every talker that this machine can make whose recordings reach to `sample_rate`."""
    for name in ("aew", "axb"):
        paths = sorted(SPEECH.glob(f"cmu_arctic_us_{name}_*.wav"))
        if paths and sample_rate <= 16000:
            yield _join(name, [soundfile.read(path) for path in paths], sample_rate, held_out=False)
    for entry in reference.voices():
        recording = reference.load(entry.name)
        held_out = entry.name in ("female_2", "male_1")
        yield _join(entry.name, [(recording.samples, recording.sample_rate)], sample_rate, held_out)
    if shutil.which("flite") and sample_rate <= 16000:
        for name, held_out in (("awb", False), ("kal16", False), ("rms", True), ("slt", True)):
            yield _speak(
                f"flite {name}", ["flite", "-voice", name, "-t", "{text}", "-o", "{path}"], sample_rate, held_out
            )
    if shutil.which("espeak-ng"):
        for name, held_out in (("en-us", False), ("en-gb+f3", False), ("en-gb-scotland", True), ("en-us+f5", True)):
            yield _speak(f"espeak {name}", ["espeak-ng", "-v", name, "-w", "{path}", "{text}"], sample_rate, held_out)
        for name, sentences in (("de+f2", GERMAN), ("fr+m4", FRENCH)):
            command = ["espeak-ng", "-v", name, "-s", "150", "-w", "{path}", "{text}"]
            yield _speak(f"espeak {name}", command, sample_rate, held_out=True, sentences=sentences)
    yield from _festival_talkers(sample_rate)
    for folder, names in PROMPTS.items():
        clips = [Path(f"/usr/share/asterisk/sounds/{folder}/{name}.g722") for name in names]
        if all(path.exists() for path in clips) and sample_rate <= 16000:
            yield _join(f"asterisk {folder[:5]}", [(_g722(path), 16000) for path in clips], sample_rate, held_out=True)


def _festival_talkers(sample_rate: int) -> Iterator[Talker]:
    folder = Path("/usr/share/festival/voices")
    if not shutil.which("text2wave") or not folder.exists():
        return
    voices = (
        ("czech_dita", False, 48000, SENTENCES[:3]),
        ("czech_machac", True, 48000, SENTENCES[:3]),
        ("lp_diphone", True, 16000, ITALIAN),
        ("pc_diphone", True, 16000, ITALIAN),
    )
    for name, held_out, highest, sentences in voices:
        if list(folder.rglob(name)) and sample_rate <= highest:
            command = ["text2wave", "-o", "{path}", "-eval", f"(voice_{name})", "{file}"]
            yield _speak(name, command, sample_rate, held_out, sentences)


def conditions(quick: bool = False) -> list[Condition]:
    """Return the ladder, families in order, each from the mildest to the most severe."""
    ladder: list[Condition] = []

    def add(
        family: str,
        severities: tuple[float, ...],
        make: Callable[[float], Degrade],
        *,
        pesq: bool = True,
        held_out: bool = False,
        steady: bool = True,
    ) -> None:
        chosen = severities[:: max(1, len(severities) // 3)] if quick else severities
        ladder.extend(Condition(family, value, make(value), pesq, held_out, steady) for value in chosen)

    add("opus kbit/s", (64, 32, 24, 16, 12, 8, 6), lambda rate: _codec("libopus", 48000, rate * 1000, OPUS))
    add("g711 a-law", (1,), lambda _: _codec("pcm_alaw", 8000))
    add("g711 mu-law", (1,), lambda _: _codec("pcm_mulaw", 8000))
    add("g722", (1,), lambda _: _codec("g722", 16000))
    add("amr-nb kbit/s", (12.2, 7.4, 4.75), lambda rate: _codec("libopencore_amrnb", 8000, round(rate * 1000)))
    losses = (0.01, 0.03, 0.05, 0.10, 0.20)
    add("loss, zeros", losses, lambda share: lambda x, rate: zero_fill(x, rate, share))
    add("loss, opus plc", losses, lambda share: lambda x, rate: opus_loss(x, rate, share))
    add("white noise dB", (40, 30, 20, 10, 0), lambda snr: lambda x, rate: add_noise(x, rate, snr, "white"))
    add("clipping dB", (6, 12, 18, 24), lambda gain: lambda x, _: clip(x, gain))
    cuts = (7000.0, 5000.0, 3400.0, 2500.0, 1500.0)
    add("low-pass Hz", cuts, lambda cut: lambda x, rate: low_pass(x, rate, cut), pesq=False)
    # Never tuned on:
    add("aac kbit/s", (32, 24, 16), lambda rate: _codec("aac", 16000, rate * 1000), held_out=True)
    add("g723.1", (6.3,), lambda rate: _codec("g723_1", 8000, round(rate * 1000)), held_out=True)
    add(
        "mp3 kbit/s",
        (32, 24, 16),
        lambda rate: _codec("libmp3lame", 16000, rate * 1000, None, "mp3float"),
        held_out=True,
    )
    add("pink noise dB", (35, 25, 15, 5), lambda snr: lambda x, rate: add_noise(x, rate, snr, "pink"), held_out=True)
    add("loss in bursts", (0.02, 0.06, 0.12), lambda share: lambda x, rate: burst_loss(x, rate, share), held_out=True)
    # Beyond what PESQ can judge:
    add("gain dB", (-10, -20, -30, -40), lambda gain: lambda x, _: x * 10 ** (gain / 20), pesq=False)
    add("mute s", (0.5, 1, 2, 4), lambda length: lambda x, rate: mute_speech(x, rate, length), pesq=False)
    add(
        "jump in pause ms",
        (-60, 20, 60, 200),
        lambda ms: lambda x, rate: jump(x, rate, ms, False),
        pesq=False,
        steady=False,
    )
    in_word = (-200, -120, -60, -20, 20, 60, 200)
    add("jump in word ms", in_word, lambda ms: lambda x, rate: jump(x, rate, ms, True), pesq=False, steady=False)
    add("drift ppm", (50, 100, 300), lambda ppm: lambda x, rate: drift(x, rate, ppm).samples, pesq=False, steady=False)
    add("jitter buffer ms", (40, 120), lambda ms: lambda x, rate: play_out(x, rate, ms), pesq=False, steady=False)
    add(
        "opus plc, jitter buffer, loss",
        (0.05, 0.10, 0.20),
        lambda share: lambda x, rate: play_out(opus_loss(x, rate, share), rate, 120),
        pesq=False,
        steady=False,
    )
    add("silence", (1,), lambda _: lambda x, _rate: np.zeros_like(x), pesq=False)
    return ladder


OPUS = {"application": "voip", "frame_duration": "20"}


def zero_fill(x: np.ndarray, rate: int, share: float) -> np.ndarray:
    """Return x with 20 ms packets lost and replaced by zeros; a higher share loses the same packets and more."""
    packet = rate // 50
    kept = np.repeat(lost_packets(len(x) // packet + 1, share), packet)[: len(x)]
    return np.where(kept, 0.0, x)


def opus_loss(x: np.ndarray, rate: int, share: float) -> np.ndarray:
    """Return x after Opus at 24 kbit/s with packets lost, concealed by libopus itself."""
    lost = lost_packets(len(x) * 50 // rate + 3, share)
    return code(x, rate, "libopus", 48000, bit_rate=24000, lost=lost, **OPUS)


def burst_loss(x: np.ndarray, rate: int, share: float) -> np.ndarray:
    """Return x with bursts of 60 ms lost and replaced by zeros."""
    burst = rate * 60 // 1000
    lost = np.repeat(lost_packets(len(x) // burst + 1, share, seed=77), burst)[: len(x)]
    return np.where(lost, 0.0, x)


def lost_packets(count: int, share: float, seed: int = 20) -> np.ndarray:
    """Return (count,) which packets are lost: nested, so that a higher share only adds losses; evenly spread."""
    # A low-discrepancy start with jitter: the share is met in each second, not only in the mean.
    rng = np.random.default_rng(seed)
    order = (np.arange(count) * 0.6180339887 + rng.random()) % 1
    return (order + 0.1 * rng.random(count)) % 1 < share


def add_noise(x: np.ndarray, rate: int, snr_db: float, colour: str) -> np.ndarray:
    """Return x with noise at a ratio to the level of its active speech."""
    noise = np.random.default_rng(3).standard_normal(len(x))
    if colour == "pink":
        noise = sosfilt(butter(1, 100, fs=rate, output="sos"), noise) + 0.15 * lfilter([1], [1, -0.9], noise) * 0.1
    noise /= np.sqrt(np.mean(noise**2))
    return x + noise * active_rms(x, rate) * 10 ** (-snr_db / 20)


def clip(x: np.ndarray, gain_db: float) -> np.ndarray:
    """Return x amplified by a gain over its peak and clipped at that peak."""
    peak = np.abs(x).max()
    return np.clip(x * 10 ** (gain_db / 20), -peak, peak)


def low_pass(x: np.ndarray, rate: int, cut_hz: float) -> np.ndarray:
    """Return x through a steep linear-phase low-pass, its delay removed."""
    if cut_hz >= 0.49 * rate:
        return x
    taps = firwin(2 * (rate // 200) + 1, cut_hz, fs=rate)
    return oaconvolve(x, taps, mode="same")


def mute_speech(x: np.ndarray, rate: int, length_s: float) -> np.ndarray:
    """Return x muted where that takes most speech away, for `length_s` per 10 s of recording."""
    length = length_s * min(1.0, len(x) / rate / 10)
    start = len(x) / rate * 0.4 - length / 2
    return mute(x, rate, [(max(start, 0.3), max(start, 0.3) + length)]).samples


def jump(x: np.ndarray, rate: int, ms: float, in_word: bool) -> np.ndarray:
    """Return x whose delay changes once, in its middle pause or in the middle of a word after it."""
    quiet = pauses(x, rate)
    inner = [span for span in quiet if span[0] > 1.0 and span[1] < len(x) / rate - 1.0] or quiet
    pause = inner[len(inner) // 2]
    time = pause[1] + 0.6 if in_word else 0.5 * (pause[0] + pause[1]) - max(0.0, -ms / 2000)
    return jumps(x, rate, [(time, ms / 1000)]).samples


def play_out(x: np.ndarray, rate: int, ms: float) -> np.ndarray:
    """Return x as played by a jitter buffer that moves to a longer delay and back."""
    return jitter_buffer(x, rate, [(0, 0), (1.0, ms / 1000), (5.0, 0)]).samples


def active_rms(x: np.ndarray, rate: int) -> float:
    """Return the RMS of the 20 ms blocks within 30 dB of the loudest."""
    block = rate // 50
    power = np.mean(x[: len(x) // block * block].reshape(-1, block) ** 2, axis=1)
    return float(np.sqrt(power[power > power.max() * 1e-3].mean()))


def _codec(
    name: str,
    codec_rate: int,
    bit_rate: int | None = None,
    options: dict[str, str] | None = None,
    decoder: str | None = None,
) -> Degrade:
    return lambda x, rate: code(x, rate, name, codec_rate, bit_rate=bit_rate, decoder=decoder, **(options or {}))


def _join(name: str, clips: list[tuple[np.ndarray, int]], sample_rate: int, held_out: bool) -> Talker:
    pieces: list[np.ndarray] = [np.zeros(round(0.3 * sample_rate))]
    for samples, rate in clips:
        clip_ = resample(samples, rate, sample_rate)
        pieces += [clip_ / active_rms(clip_, sample_rate), np.zeros(round(0.4 * sample_rate))]
    joined = np.concatenate(pieces)[: 12 * sample_rate]
    # A recording room's floor, 70 dB below the speech: digital silence is no real reference.
    joined = joined + 10 ** (-70 / 20) * np.random.default_rng(1).standard_normal(len(joined))
    joined *= 10 ** (LEVEL_DBOV / 20) / active_rms(joined, sample_rate)
    return Talker(name, joined, sample_rate, held_out)


def _speak(
    name: str, command: list[str], sample_rate: int, held_out: bool, sentences: tuple[str, ...] = SENTENCES[:3]
) -> Talker:
    clips = []
    with tempfile.TemporaryDirectory() as folder:
        path, text_file = Path(folder) / "speech.wav", Path(folder) / "text.txt"
        for text in sentences:
            text_file.write_text(text)
            words = [part.format(text=text, path=path, file=text_file) for part in command]
            subprocess.run(words, check=True, capture_output=True)
            clips.append(soundfile.read(path))
    return _join(name, clips, sample_rate, held_out)


def _g722(path: Path) -> np.ndarray:
    import av  # noqa: PLC0415  (only needed where these prompts are installed)

    reader = av.CodecContext.create("g722", "r")
    reader.sample_rate, reader.layout = 16000, "mono"
    frames = reader.decode(av.Packet(path.read_bytes()))
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames]) / 32768.0
