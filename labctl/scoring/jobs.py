"""Runs audio jobs: hands their pairs to processes, writes each score down as it comes, goes on after a restart."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog

from labctl.errors import InvalidInputError, LabError, NotFoundError, UnavailableError
from labctl.scoring import rows
from labctl.scoring.files import AudioFiles
from labctl.scoring.model import NO_POLQA, AudioJob, AudioPair
from labctl.scoring.outcome import Refused, Scored
from labctl.scoring.pool import AudioPool
from labctl.scoring.references import reference_names, reference_speaks
from labctl.store import Store
from labctl.store.tables import audio_jobs, audio_scores

_SCORE = "labctl.scoring.work:score_pair"
log = structlog.get_logger(__name__)


class AudioJobs:
    """Audio jobs under way. As many pairs are scored at a time as the pool has processes."""

    def __init__(
        self, folder: Path, store: Store, files: AudioFiles, pool: AudioPool, polqa: Path | None = None
    ) -> None:
        self._reports = folder
        self._polqa = None if polqa is None else str(polqa)
        self._store = store
        self._files = files
        self._pool = pool
        self._threads = ThreadPoolExecutor(pool.processes, thread_name_prefix="audio")
        self._stopping = threading.Event()
        self._cancelled: set[str] = set()

    def resume(self) -> None:
        """Go on with the jobs that were running when the daemon ended."""
        with self._store.read() as connection:
            running = sa.select(audio_jobs.c.id).where(audio_jobs.c.state == "running").order_by(audio_jobs.c.id)
            found = connection.execute(running).scalars().all()
        for job in found:
            self._begin(job)

    def create(self, job: AudioJob, owner: str) -> str:
        """A job that waits for its start; returns its id. Raises InvalidInputError for files that cannot be used."""
        if "polqa" in job.others and self._polqa is None:
            raise InvalidInputError(NO_POLQA, errors=[{"pointer": "/others", "detail": NO_POLQA}])
        errors = [error for index, pair in enumerate(job.pairs) for error in self._check(index, pair)]
        if errors:
            told = "; ".join(f"{each['pointer']}: {each['detail']}" for each in errors[:5])
            raise InvalidInputError(told, errors=errors)
        return self._store.write(lambda transaction: rows.add_job(transaction, owner, job))

    def start(self, job: str) -> None:
        """Raises NotFoundError, or ConflictError when it was started before."""
        self._store.write(lambda transaction: rows.start_job(transaction, job))
        self._begin(job)

    def cancel(self, job: str, reason: str) -> None:
        """End a job; pairs that are being scored are dropped."""
        self._store.write(lambda transaction: rows.cancel_job(transaction, job, reason))
        self._cancelled.add(job)

    def report(self, job: str, position: int) -> Path:
        """The page of a pair. Raises NotFoundError where none was drawn."""
        path = self._report(job, position)
        with self._store.read() as connection:
            known = sa.select(audio_scores.c.report).where(
                audio_scores.c.job_id == job, audio_scores.c.position == position
            )
            drawn = connection.execute(known).scalar()
        if not drawn or not path.is_file():
            raise NotFoundError(f"audio job {job!r} has no report on pair {position}")
        return path

    def close(self) -> None:
        """Stop; jobs under way go on at the next start of the daemon."""
        self._stopping.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._pool.close()
        self._threads.shutdown(wait=True)

    def _check(self, index: int, pair: AudioPair) -> list[dict[str, str]]:
        errors = []
        for role, name in pair.names().items():
            pointer = f"/pairs/{index}/{role}"
            if name in reference_names():
                if role in ("reference", "own_said") and not reference_speaks(name):
                    errors.append({"pointer": pointer, "detail": f"{name} is silent: nothing could be reproduced"})
                continue
            try:
                row = self._files.row(name)
            except NotFoundError:
                known = ", ".join(reference_names())
                detail = f"{name!r} is no uploaded file and no reference; references are {known}"
                errors.append({"pointer": pointer, "detail": detail})
                continue
            if row.silent and role in ("reference", "own_said"):
                errors.append({"pointer": pointer, "detail": f"{row.name} is silent: nothing could be reproduced"})
        return errors

    def _begin(self, job: str) -> None:
        with self._store.read() as connection:
            document = connection.execute(sa.select(audio_jobs.c.document).where(audio_jobs.c.id == job)).scalar_one()
            scored = sa.select(audio_scores.c.position).where(audio_scores.c.job_id == job)
            done = set(connection.execute(scored).scalars())
        left = [position for position in range(len(document["pairs"])) if position not in done]
        if not left:
            self._store.write(lambda transaction: rows.finish_job(transaction, job))
        progress = _Progress(len(left))
        for position in left:
            self._threads.submit(self._score, job, document, position, progress)

    def _score(self, job: str, document: dict[str, Any], position: int, progress: _Progress) -> None:
        if self._stopping.is_set() or job in self._cancelled:
            return
        try:
            row = self._row(job, document, position)
            if job in self._cancelled:
                return
            self._store.write(lambda transaction: rows.add_score(transaction, job, position, row))
            if progress.one_less() == 0:
                self._store.write(lambda transaction: rows.finish_job(transaction, job))
        except (CancelledError, UnavailableError):  # the daemon is shutting down; the next one goes on
            return
        except Exception:
            log.exception("audio job failed", audio_job=job, position=position)

    def _row(self, job: str, document: dict[str, Any], position: int) -> dict[str, Any]:
        pair = AudioPair.model_validate(document["pairs"][position])
        report = None if document["report"] == "none" else str(self._report(job, position))
        try:
            sources, names = {}, {}
            for role, name in pair.names().items():
                sources[role], names[role] = self._source(name)
            scored: Scored | Refused = self._pool.run(_SCORE, sources, names, document, report, self._polqa)
        except BrokenProcessPool:
            scored = Refused("the process that scored it died, most likely for want of memory; cut it into pieces")
        except (UnavailableError, CancelledError):
            raise
        except LabError as exc:
            scored = Refused(exc.detail)
        except Exception as exc:  # a pair must not leave its job without an end
            log.exception("scoring failed", audio_job=job, position=position)
            scored = Refused(f"scoring failed in itself: {type(exc).__name__}: {exc}")
        if isinstance(scored, Refused):
            return {"verdict": "errored", "reason": scored.reason, "measurements": [], "result": None, "report": False}
        return {
            "verdict": "passed" if scored.passed else "failed",
            "reason": scored.reason,
            "measurements": list(scored.measurements),
            "result": scored.result,
            "report": scored.report,
        }

    def _source(self, name: str) -> tuple[str, str]:
        if name in reference_names():
            return f"reference:{name}", name
        path, called = self._files.path(name)
        return str(path), called

    def _report(self, job: str, position: int) -> Path:
        return self._reports / job / f"{position}.html"


class _Progress:
    """How many pairs of a job are left."""

    def __init__(self, left: int) -> None:
        self._left = left
        self._lock = threading.Lock()

    def one_less(self) -> int:
        with self._lock:
            self._left -= 1
            return self._left
