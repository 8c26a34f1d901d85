"""`labctl audio batch`: score all pairs of a list in processes of their own, with progress; needs no daemon."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labctl.cli.audio import limits_of
from labctl.cli.exits import OF_VERDICT, USAGE, ExpectedError
from labctl.cli.output import note, print_json, print_table
from labctl.scoring import AudioJob, AudioPool
from labctl.scoring.outcome import Refused, Scored

_SCORE = "labctl.scoring.work:score_pair"
_COLUMNS = ("reference", "recording")
_WORST_FIRST = ("errored", "failed", "passed")
_LEAST_STEP = 0.1  # of the whole, between two lines of progress where nobody watches


@dataclass(frozen=True, slots=True)
class Pair:
    """A line of the list. `sources`: what the processes open."""

    name: str
    sources: dict[str, str]
    names: dict[str, str]


def score_batch(
    pairs: Path,
    *,
    thresholds: Path | None,
    given: dict[str, Any],
    rate: int | None,
    reports: Path | None,
    jobs: int | None,
    as_json: bool,
) -> int:
    """Score the pairs of a CSV file; exit code of the worst verdict.

    `reports`: a folder for a page on each pair that did not pass. `jobs`: how many at a time, half the processors
    unless given.
    """
    listed = read_pairs(pairs)
    document = _document(limits_of(thresholds, given), rate)
    pool = AudioPool(jobs)
    try:
        rows = _score_all(listed, document, reports, pool)
    finally:
        pool.close()
    found = Counter(row["verdict"] for row in rows)
    verdict = next((each for each in _WORST_FIRST if found[each]), "passed")
    if as_json:
        print_json({"verdict": verdict, "items": rows, "next": None})
    else:
        _print(rows, found)
    return OF_VERDICT[verdict]


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a CSV file with the columns reference and recording, and name if there is one.

    A reference is a packaged name or a file; files count from the list's folder. Raises ExpectedError with the line.
    """
    from audio import reference

    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise ExpectedError(f"{path} cannot be read: {exc}", USAGE) from None
    reader = csv.DictReader(text.splitlines())
    if missing := [each for each in _COLUMNS if each not in (reader.fieldnames or ())]:
        raise ExpectedError(f"{path}:1: no column {' and '.join(missing)}; the first line names the columns", USAGE)
    pairs = []
    for row in reader:
        names = {column: (row[column] or "").strip() for column in _COLUMNS}
        if empty := [column for column, name in names.items() if not name]:
            raise ExpectedError(f"{path}:{reader.line_num}: {' and '.join(empty)} is empty", USAGE)
        sources = {column: str(path.parent / name) for column, name in names.items()}
        if names["reference"] in reference.names() and not Path(sources["reference"]).exists():
            sources["reference"] = f"reference:{names['reference']}"
        pairs.append(Pair((row.get("name") or "").strip() or names["recording"], sources, names))
    if not pairs:
        raise ExpectedError(f"{path} lists no pairs", USAGE)
    return pairs


def _document(limits: Any, rate: int | None) -> dict[str, Any]:
    from pydantic import ValidationError

    try:
        # The pairs themselves may have longer paths than the service's ids: they travel beside the document.
        job = {"pairs": [{"reference": "r", "recording": "d"}], "sample_rate": rate, "report": "failed"}
        return AudioJob.model_validate({**job, "thresholds": limits}).model_dump(mode="json")
    except ValidationError as exc:
        told = "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in exc.errors())
        raise ExpectedError(told, USAGE) from None


def _score_all(
    pairs: list[Pair], document: dict[str, Any], reports: Path | None, pool: AudioPool
) -> list[dict[str, Any]]:
    rows: dict[int, dict[str, Any]] = {}
    with ThreadPoolExecutor(pool.processes) as threads, _Progress(len(pairs)) as progress:
        futures: dict[Future[dict[str, Any]], int] = {
            threads.submit(_score, number, pair, document, reports, pool): number for number, pair in enumerate(pairs)
        }
        try:
            for future in as_completed(futures):
                rows[futures[future]] = future.result()
                progress.add(rows[futures[future]]["verdict"])
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return [rows[number] for number in range(len(pairs))]


def _score(number: int, pair: Pair, document: dict[str, Any], reports: Path | None, pool: AudioPool) -> dict[str, Any]:
    page = None if reports is None else reports / f"{number + 1:04d}-{Path(pair.names['recording']).stem[:80]}.html"
    try:
        scored: Scored | Refused = pool.run(
            _SCORE, pair.sources, pair.names, document, None if page is None else str(page)
        )
    except BrokenProcessPool:
        return _row(pair, "errored", "the process that scored it died, most likely for want of memory")
    if isinstance(scored, Refused):
        return _row(pair, "errored", scored.reason)
    values = {each["name"]: each["value"] for each in scored.measurements}
    row = _row(pair, "passed" if scored.passed else "failed", scored.reason)
    row |= {"mos": scored.result["mos"], "reasons": [each["text"] for each in scored.result["reasons"]]}
    return row | {"measurements": values, "report": str(page) if scored.report else None}


def _row(pair: Pair, verdict: str, reason: str) -> dict[str, Any]:
    empty: dict[str, Any] = {"mos": None, "reasons": [], "measurements": {}, "report": None}
    return {"name": pair.name, **pair.names, "verdict": verdict, "reason": reason, **empty}


def _print(rows: list[dict[str, Any]], found: Counter[str]) -> None:
    worst = sorted(rows, key=lambda row: (_WORST_FIRST.index(row["verdict"]), row["mos"] or 0.0))
    table = [
        (
            row["name"],
            row["reference"],
            "" if row["mos"] is None else f"{row['mos']:.2f}",
            row["verdict"],
            row["reason"] or "; ".join(row["reasons"]),
        )
        for row in worst
    ]
    print_table(("pair", "reference", "MOS", "verdict", "why"), table, "")
    values = sorted(row["mos"] for row in rows if row["mos"] is not None)
    middle = f"; MOS {values[0]:.2f} to {values[-1]:.2f}, median {values[len(values) // 2]:.2f}" if values else ""
    print(", ".join(f"{found[each]} {each}" for each in reversed(_WORST_FIRST) if found[each]) + middle)


class _Progress:
    """A bar on a terminal, a line now and then elsewhere; on standard error both."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._total = total
        self._found: Counter[str] = Counter()
        self._told = 0
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
        self._bar = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True)
        self._task = self._bar.add_task("", total=total)

    def add(self, verdict: str) -> None:
        """One pair more is done."""
        self._found[verdict] += 1
        done = self._found.total()
        text = ", ".join(f"{count} {each}" for each, count in self._found.items())
        self._bar.update(self._task, completed=done, description=text)
        if self._bar.disable and done < self._total and done - self._told >= max(_LEAST_STEP * self._total, 1):
            self._told = done
            note(f"{done} of {self._total}: {text}")

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
