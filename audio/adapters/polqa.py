"""A licensed POLQA (ITU-T P.863) that the lab has, as a command or an HTTP server that is given two WAV files."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from audio.adapters.other import OtherScore, OtherScoreError
from audio.files import write_audio
from audio.rates import resampled
from audio.recording import Array, Recording

_MOST_BYTES = 1 << 20  # of an answer
_SHOWN = 300  # characters of an answer in a message
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_KNOWN = {"reference", "degraded", "rate"}


class PolqaSettings(BaseModel):
    """How the lab's POLQA is asked: by `command` or at `url`.

    `command`: the program and its arguments, run without a shell; `{reference}` and `{degraded}` become paths of WAV
    files of one channel and 16 bits, `{rate}` their sample rate. `url`: gets the two files as the parts `reference` and
    `degraded` of a form by POST, with the field `rate`. `pattern`: a regular expression whose only group is the score
    in the answer (standard output, or the body); it must match exactly once. `rate`: what the files are brought to,
    that of the score unless given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    url: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None
    pattern: str
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")] = "polqa"
    version: str = "unknown"
    rate: Literal[8000, 16_000, 32_000, 48_000] | None = None
    time_limit_s: Annotated[float, Field(gt=0, le=3600)] = 120.0
    scale: tuple[float, float] = (1.0, 5.0)

    @field_validator("command")
    @classmethod
    def _names_both_files(cls, command: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if command is not None:
            asked = {name for argument in command for name in _PLACEHOLDER.findall(argument)}
            if unknown := asked - _KNOWN:
                raise ValueError(f"{{{min(unknown)}}} is none of {{reference}}, {{degraded}}, {{rate}}")
            if missing := {"reference", "degraded"} - asked:
                raise ValueError(f"{{{max(missing)}}} stands in no argument")
        return command

    @field_validator("pattern")
    @classmethod
    def _has_one_group(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except re.error as exc:
            raise ValueError(f"is no regular expression: {exc}") from None
        if groups != 1:
            raise ValueError(f"has {groups} groups; put one pair of brackets around the score, others as (?:...)")
        return pattern

    @model_validator(mode="after")
    def _one_way(self) -> PolqaSettings:
        if (self.command is None) == (self.url is None):
            raise ValueError("give either command or url")
        if self.scale[0] >= self.scale[1]:
            raise ValueError("scale: the least value must be below the greatest")
        return self


class Polqa:
    """Satisfies `OtherScorer`."""

    def __init__(self, settings: PolqaSettings) -> None:
        self._settings = settings

    @property
    def name(self) -> str:
        """`polqa`, unless the settings say otherwise."""
        return self._settings.name

    def score(self, reference: Array, degraded: Array, sample_rate: int) -> OtherScore:
        """Writes both sides into a folder of their own, asks, and takes the number out of the answer.

        Raises OtherScoreError when the program cannot be started or reached, fails, takes longer than its time limit,
        or answers without exactly one number on its scale.
        """
        rate = self._settings.rate or sample_rate
        with tempfile.TemporaryDirectory(prefix="polqa-") as folder:
            paths = {"reference": Path(folder) / "reference.wav", "degraded": Path(folder) / "degraded.wav"}
            for path, side in zip(paths.values(), (reference, degraded), strict=True):
                write_audio(path, resampled(Recording(side, sample_rate), rate), rate)
            if self._settings.command is not None:
                answer = self._run(self._settings.command, paths, rate, Path(folder))
            else:
                answer = self._post(str(self._settings.url), paths, rate)
        return OtherScore(self.name, self._number(answer), self._settings.scale, self._settings.version)

    def _run(self, command: tuple[str, ...], paths: dict[str, Path], rate: int, folder: Path) -> str:
        values = {**{name: str(path) for name, path in paths.items()}, "rate": str(rate)}
        arguments = [_PLACEHOLDER.sub(lambda found: values[found[1]], argument) for argument in command]
        # Into files, not pipes: a child that outlives the program would hold a pipe open for ever.
        with (folder / "stdout").open("w+b") as out, (folder / "stderr").open("w+b") as err:
            try:
                process = subprocess.Popen(
                    arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=folder, start_new_session=True
                )
            except OSError as exc:
                raise self._error(f"the command {command[0]} cannot be started: {exc.strerror}") from None
            try:
                code = process.wait(self._settings.time_limit_s)
            except BaseException as exc:
                # Not reaped yet, so the number of its group is still its own.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if isinstance(exc, subprocess.TimeoutExpired):
                    limit = f"{self._settings.time_limit_s:g} s"
                    raise self._error(f"the command {command[0]} took longer than time_limit_s, {limit}") from None
                raise
            answer = _head(out)
            if code != 0:
                said = _shown(_head(err) or answer)
                raise self._error(f"the command {command[0]} ended with code {code} and said: {said}")
            return answer

    def _post(self, url: str, paths: dict[str, Path], rate: int) -> str:
        limit = self._settings.time_limit_s
        ends = time.monotonic() + limit
        files = {name: (path.name, path.read_bytes(), "audio/wav") for name, path in paths.items()}
        body = b""
        try:
            with httpx.stream("POST", url, files=files, data={"rate": str(rate)}, timeout=limit) as response:
                for part in response.iter_bytes():
                    body += part
                    if time.monotonic() > ends:
                        raise self._error(f"{url} took longer than time_limit_s, {limit:g} s")
                    if len(body) > _MOST_BYTES:
                        break
        except httpx.TimeoutException:
            raise self._error(f"{url} took longer than time_limit_s, {limit:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise self._error(f"{url} cannot be asked: {type(exc).__name__}: {exc}") from None
        answer = body[:_MOST_BYTES].decode(errors="replace")
        if response.status_code != httpx.codes.OK:
            raise self._error(f"{url} answered {response.status_code}: {_shown(answer)}")
        return answer

    def _number(self, answer: str) -> float:
        found = re.findall(self._settings.pattern, answer)
        if len(found) != 1:
            how = f"{len(found)} times" if found else "nowhere"
            raise self._error(f"the pattern {self._settings.pattern!r} matches {how} in its answer: {_shown(answer)}")
        try:
            value = float(found[0])
        except ValueError:
            value = math.nan
        low, high = self._settings.scale
        if not low <= value <= high:
            raise self._error(f"{found[0]!r} is no number from {low:g} to {high:g}; the answer was: {_shown(answer)}")
        return value

    def _error(self, what: str) -> OtherScoreError:
        return OtherScoreError(f"{self.name}: {what}")


def _head(stream: BinaryIO) -> str:
    stream.seek(0)
    return stream.read(_MOST_BYTES).decode(errors="replace")


def _shown(answer: str) -> str:
    text = " ".join(answer.split())
    return repr(text[:_SHOWN]) + ("…" if len(text) > _SHOWN else "") if text else "nothing"
