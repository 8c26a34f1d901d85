"""The report on a score: one HTML file that needs nothing else, for the screen and for paper."""

from __future__ import annotations

import base64
import html
import math
import os
from pathlib import Path

from audio.intervals import Interval
from audio.judging import Judged, Judgement
from audio.plain import figure
from audio.plots import overview_svg, spectrum_svg
from audio.scoring import AudioScore, Pair

_WORDS = (
    (4.0, "good", "The far end hears well."),
    (3.0, "fair", "The far end hears, and notices."),
    (2.0, "poor", "The far end has trouble to follow."),
    (0.0, "bad", "The far end can hardly understand, or hears nothing of it."),
)
_MOST_INTERVALS = 12

_STYLE = """
:root { --ink: #1c2733; --muted: #66727f; --line: #dfe4ea; --good: #1a7f37; --bad: #cf222e; --plain: #1f6feb; }
* { box-sizing: border-box; }
body { margin: 0; background: #f4f6f8; color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 32px 24px 64px; }
header { background: white; border: 1px solid var(--line); border-left: 8px solid var(--tone); border-radius: 10px;
  padding: 22px 26px; display: flex; gap: 26px; align-items: center; }
header h1 { margin: 0 0 2px; font-size: 26px; overflow-wrap: anywhere; }
header .sub { color: var(--muted); }
.verdict { color: var(--tone); }
.mos { flex: none; width: 116px; height: 116px; }
.mos text { font-variant-numeric: tabular-nums; }
.reasons { margin: 12px 0 0; padding-left: 20px; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px; margin: 16px 0 0; }
.fact { background: white; border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.fact b { display: block; font-size: 20px; font-weight: 600; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.fact span { color: var(--muted); font-size: 13px; }
section { background: white; border: 1px solid var(--line); border-radius: 10px; padding: 18px 26px; margin-top: 16px; }
h2 { font-size: 17px; margin: 0 0 10px; }
.note { color: var(--muted); font-size: 13px; margin: 6px 0; }
img { display: block; width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th { text-align: right; color: var(--muted); font-weight: 500; border-bottom: 1.5px solid var(--line);
  padding: 6px 8px;   vertical-align: bottom; }
td { text-align: right; border-bottom: 1px solid var(--line); padding: 6px 8px; }
th:first-child, td:first-child { text-align: left; font-weight: 600; }
tr:last-child td { border-bottom: none; }
.chip { display: inline-block; border-radius: 99px; padding: 1px 10px; font-size: 12.5px; font-weight: 600;
  border: 1px solid currentColor; }
.good { color: var(--good); } .bad { color: var(--bad); } .none { color: var(--muted); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; margin: 0; font-size: 13.5px; }
dt { color: var(--muted); } dd { margin: 0; overflow-wrap: anywhere; }
@media print {
  body { background: white; font-size: 11pt; } main { max-width: none; padding: 0; }
  section, header, .fact { break-inside: avoid; }
}
"""


def write_report(path: str | Path, score: AudioScore, pair: Pair, judgement: Judgement, names: tuple[str, str]) -> Path:
    """Writes the report on the `score` of `pair`, whole or not at all; returns its path.

    `names`: what reference and recording are called. Raises OSError when it cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(report_html(score, pair, judgement, names), encoding="utf-8")
    partial.replace(path)
    return path


def report_html(score: AudioScore, pair: Pair, judgement: Judgement, names: tuple[str, str]) -> str:
    """The report as an HTML document without any reference to other files."""
    judged = any(each.passed is not None for each in judgement.measurements)
    tone = "--plain" if not judged else "--good" if judgement.passed else "--bad"
    verdict = "" if not judged else "passed" if judgement.passed else "failed"
    parts = [
        _header(score, judgement, names, verdict),
        _facts(score),
        _picture(
            "What was sent and what arrived",
            overview_svg(score, pair),
            "One time axis for all: that of the reference. Hatched: parts of the reference that never arrived. "
            "Red: times named among the reasons.",
        ),
        _measurements(judgement),
        _others(score),
        _picture("Spectrum", spectrum_svg(score, pair), "Both sides as they are, levels not matched."),
        _details(score),
        _utterances(score),
        _provenance(score, names),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(names[1])}: MOS {score.mos:.2f}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f'<body style="--tone: var({tone})">\n<main>\n' + "\n".join(part for part in parts if part)
    ) + "\n</main>\n</body>\n</html>\n"


def _header(score: AudioScore, judgement: Judgement, names: tuple[str, str], verdict: str) -> str:
    _, word, meaning = next(each for each in _WORDS if score.mos >= each[0])
    ending = f': <span class="verdict">{verdict}</span>' if verdict else f": {word}"
    lines = [each.sentence() for each in judgement.failures] + [reason.text for reason in score.reasons]
    reasons = "".join(f"<li>{_text(line)}</li>" for line in lines)
    return (
        f"<header>{_dial(score.mos)}<div><h1>{_text(names[1])}{ending}</h1>"
        f'<div class="sub">{_text(meaning)} Scored against {_text(names[0])}.</div>'
        + (f'<ul class="reasons">{reasons}</ul>' if reasons else "")
        + "</div></header>"
    )


def _dial(mos: float) -> str:
    """A ring that is full at 5."""
    length = 2 * math.pi * 50
    filled = length * (mos - 1) / 4
    return (
        f'<svg class="mos" viewBox="0 0 116 116" role="img" aria-label="MOS {mos:.2f} of 5">'
        '<circle cx="58" cy="58" r="50" fill="none" stroke="var(--line)" stroke-width="9"/>'
        '<circle cx="58" cy="58" r="50" fill="none" stroke="var(--tone)" stroke-width="9" stroke-linecap="round" '
        f'stroke-dasharray="{filled:.1f} {length:.1f}" transform="rotate(-90 58 58)"/>'
        f'<text x="58" y="64" text-anchor="middle" font-size="30" font-weight="600" fill="var(--ink)">{mos:.2f}</text>'
        '<text x="58" y="83" text-anchor="middle" font-size="12" fill="var(--muted)">MOS-LQO</text></svg>'
    )


def _facts(score: AudioScore) -> str:
    facts = [
        ("–" if score.delay_ms is None else f"{score.delay_ms:.0f} ms", "delay, median over speech"),
        (f"{score.coverage:.0%}", "of the speech arrived"),
        (f"{score.active_speech_ratio:.0%}", "active speech"),
        (_db(score.active_speech_level_dbov, "dBov"), "active speech level"),
        (f"{score.recording.bandwidth.high_hz / 1000:.1f} kHz", score.recording.bandwidth.band.value),
    ]
    if score.drift_ppm is not None:
        facts.insert(1, (f"{figure(round(score.drift_ppm))} ppm", "clock drift"))
    cells = "".join(f'<div class="fact"><b>{_text(value)}</b><span>{_text(name)}</span></div>' for value, name in facts)
    return f'<div class="facts">{cells}</div>'


def _picture(title: str, svg: str, caption: str) -> str:
    data = base64.b64encode(svg.encode()).decode()
    return (
        f'<section><h2>{title}</h2><img alt="{title}" src="data:image/svg+xml;base64,{data}">'
        f'<p class="note">{caption}</p></section>'
    )


def _measurements(judgement: Judgement) -> str:
    rows = "".join(_measurement(each) for each in judgement.measurements)
    head = "".join(f"<th>{name}</th>" for name in ("measurement", "value", "unit", "at least", "at most", ""))
    return (
        '<section><h2>Measurements and limits</h2><div class="wide"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _measurement(each: Judged) -> str:
    chip = {
        None: '<span class="chip none">not judged</span>',
        True: '<span class="chip good">passed</span>',
        False: '<span class="chip bad">failed</span>',
    }[each.passed]
    cells = [
        _text(each.name),
        "–" if each.value is None else figure(each.value),
        "" if each.unit == "1" else _text(each.unit),
        "" if each.low is None else f"{each.low:g}",
        "" if each.high is None else f"{each.high:g}",
        chip,
    ]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _others(score: AudioScore) -> str:
    if not score.others:
        return ""
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td>{_text(cell)}</td>"
            for cell in (
                each.name,
                "–" if each.value is None else f"{each.value:.2f}",
                f"{each.scale[0]:g} to {each.scale[1]:g}",
                each.version,
            )
        )
        + "</tr>"
        for each in score.others
    )
    head = "".join(f"<th>{name}</th>" for name in ("program", "value", "scale", "version"))
    return (
        '<section><h2>Other programs</h2><div class="wide"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        '<p class="note">Shown beside the MOS above, which rests on none of them.</p></section>'
    )


def _details(score: AudioScore) -> str:
    """Both sides by themselves, one beside the other."""
    sent, arrived = score.reference, score.recording
    rows = [("", "reference", "recording")]
    rows += [
        ("duration", f"{sent.duration_s:.2f} s", f"{arrived.duration_s:.2f} s"),
        ("active speech level", _db(sent.level.level_dbov, "dBov"), _db(arrived.level.level_dbov, "dBov")),
        ("active speech ratio", f"{sent.level.ratio:.1%}", f"{arrived.level.ratio:.1%}"),
    ]
    for name, unit, take in (
        ("peak", "dBov", "peak_dbov"),
        ("power", "dBov", "rms_dbov"),
        ("crest", "dB", "crest_db"),
        ("noise floor", "dBov", "noise_floor_dbov"),
    ):
        rows.append((name, _db(getattr(sent.amplitude, take), unit), _db(getattr(arrived.amplitude, take), unit)))
    rows += [
        ("offset", f"{sent.amplitude.dc:+.5f}", f"{arrived.amplitude.dc:+.5f}"),
        (
            "band",
            _band(sent.bandwidth.low_hz, sent.bandwidth.high_hz),
            _band(arrived.bandwidth.low_hz, arrived.bandwidth.high_hz),
        ),
        ("clipped", _share(sent.amplitude.clipped_ratio), _share(arrived.amplitude.clipped_ratio)),
        ("drop-outs", _intervals(sent.amplitude.dropouts), _intervals(arrived.amplitude.dropouts)),
        ("silent for 1 s or more", _intervals(sent.amplitude.mutes), _intervals(arrived.amplitude.mutes)),
    ]
    for tone in arrived.presence:
        told = "not found"
        if tone.found and tone.frequency_hz is not None and tone.snr_db is not None:
            told = f"{tone.frequency_hz:.1f} Hz, {_db(tone.level_dbov, 'dBov')}, SNR {tone.snr_db:.0f} dB, "
            told += _intervals(tone.intervals)
        rows.append((f"tone {tone.asked_hz:g} Hz", "", told))
    if score.echo is not None:
        echo = score.echo
        told = f"none above a return loss of {echo.detectable_db:.0f} dB"
        if echo.present:
            told = f"return loss {_db(echo.return_loss_db, 'dB')}, after {echo.delay_ms:.0f} ms"
        rows.append(("echo", "", told))
    head = "".join(f"<th>{cell}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:])
    return (
        '<section><h2>Both sides by themselves</h2><div class="wide"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></section>"
    )


def _utterances(score: AudioScore) -> str:
    rows = [(f"{each.start_s:.2f} to {each.end_s:.2f} s", _delay(each.delay_ms)) for each in score.alignment.utterances]
    if not rows:
        return ""
    items = "".join(f"<dt>{name}</dt><dd>{_text(value)}</dd>" for name, value in rows)
    return f"<section><h2>Delay of each utterance</h2><dl>{items}</dl></section>"


def _provenance(score: AudioScore, names: tuple[str, str]) -> str:
    rows = [
        ("reference", names[0]),
        ("recording", names[1]),
        ("scored at", f"{score.sample_rate} Hz"),
        ("MOS-LQO", "of this program's own full-reference model; not ITU-T P.863 (POLQA) and not P.862 (PESQ)"),
        ("speech level", "ITU-T P.56, method B"),
    ]
    items = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in rows)
    return f"<section><h2>What this rests on</h2><dl>{items}</dl></section>"


def _delay(delay_ms: float) -> str:
    return f"{delay_ms:.1f} ms" if math.isfinite(delay_ms) else "not found"


def _db(level: float | None, unit: str) -> str:
    return "–" if level is None or not math.isfinite(level) else f"{level:.1f} {unit}"


def _band(low_hz: float, high_hz: float) -> str:
    return f"{low_hz:.0f} Hz to {high_hz / 1000:.1f} kHz" if high_hz > 0 else "–"


def _share(ratio: float) -> str:
    return f"{ratio:.3%}" if ratio else "none"


def _intervals(intervals: tuple[Interval, ...]) -> str:
    shown = ", ".join(f"{each.start_s:.2f} to {each.end_s:.2f} s" for each in intervals[:_MOST_INTERVALS])
    more = len(intervals) - _MOST_INTERVALS
    return (shown or "none") + (f" and {more} more" if more > 0 else "")


def _text(value: str) -> str:
    return html.escape(value, quote=True)
