"""The actions `host.exec`, `host.sync`, `host.fetch` and `power.cycle`: commands, files and power of a job's hosts."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from drivers.power import cycle
from drivers.ssh import CommandCancelledError, CommandTimeoutError, CopyError, SshError, Stream
from drivers.ssh.copying import get
from drivers.ssh.ignoring import Ignore
from drivers.ssh.syncing import sync_from, sync_to
from labctl.errors import LabFailureError
from labctl.steps import Measurement, Outcome, StepContext, Verdict

_LOG_LINE_BYTES = 2000
_Text = Annotated[str, Field(min_length=1, max_length=100_000)]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,80}$")]


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ExecParameters(_Parameters):
    """`command`: a line for the account's shell, or words that no shell looks at.

    `expect`: the exit statuses that pass. `log`: under what name its output is kept.
    """

    command: _Text | Annotated[tuple[_Text, ...], Field(min_length=1)]
    cwd: str | None = None
    env: dict[str, str] = Field(default_factory=dict)
    stdin: str = ""
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] | None = None
    expect: tuple[Annotated[int, Field(ge=0, le=255)], ...] = (0,)
    log: _Name = "output.log"


class SyncParameters(_Parameters):
    """Makes the folder `to` of the host as the folder `source` of the daemon's machine."""

    source: Path
    to: _Text
    delete: bool = False
    ignore: tuple[str, ...] = ()


class FetchParameters(_Parameters):
    """Keeps a file of the host, or every file below a folder of it, as artifacts; `name` counts for a single file."""

    path: _Text
    name: _Name | None = None
    ignore: tuple[str, ...] = ()


class CycleParameters(_Parameters):
    """Off, `pause_s` seconds, on; then, unless `wait_s` is 0, wait until the host answers."""

    pause_s: Annotated[float, Field(ge=0, le=600)] = 3.0
    wait_s: Annotated[float, Field(ge=0, le=3600)] = 300.0


class Exec:
    """Satisfies `labctl.steps.Action`: runs a command on the lane's host."""

    parameters = ExecParameters

    def run(self, context: StepContext, parameters: ExecParameters) -> Outcome:
        """Run it; an exit status that was not expected fails the step. Cancelling kills it with all it started."""
        host = context.hosts.get(context.device).ssh
        log = context.folder / parameters.log
        process = host.start(parameters.command, cwd=parameters.cwd, env=parameters.env)

        def cancel(reason: str) -> None:
            with contextlib.suppress(SshError):  # who reads the output gets that too
                process.cancel(reason)

        context.cancellation.on_asked(cancel)
        # What cannot be logged does not go on unseen either.
        with process, log.open("wb") as file:

            def take(stream: Stream, data: bytes) -> None:
                file.write(data)
                text = data[-_LOG_LINE_BYTES:].decode(errors="replace")
                context.emit("output", {"stream": stream.value, "text": text, "bytes": len(data)})

            try:
                ended = process.communicate(
                    stdin=parameters.stdin.encode(), timeout_s=parameters.timeout_s, on_output=take
                )
            except CommandCancelledError:
                return Outcome(context.cancellation.verdict, context.cancellation.reason)
            except CommandTimeoutError as exc:
                return Outcome(Verdict.FAILED, str(exc))
            finally:
                file.flush()
                context.keep(log, parameters.log, "text/plain")
        context.output("exit_status", ended.exit_status)
        context.output("stdout", ended.text)
        passed = ended.exit_status in parameters.expect
        verdict = Verdict.PASSED if passed else Verdict.FAILED
        context.measure(
            [
                Measurement("exit status", ended.exit_status, "1", verdict=verdict),
                Measurement("duration", ended.duration_s, "s"),
            ]
        )
        if passed:
            return Outcome(Verdict.PASSED)
        words = (ended.stderr or ended.stdout)[-500:].decode(errors="replace").strip()
        return Outcome(verdict, f"`{ended.command[:200]}` ended with exit status {ended.exit_status}: {words}")


class Sync:
    """Satisfies `labctl.steps.Action`: brings a folder of the lane's host in step."""

    parameters = SyncParameters

    def run(self, context: StepContext, parameters: SyncParameters) -> Outcome:
        """Copy what changed; what could not be copied is the lab's fault. What the daemon keeps to itself stays here:
        who may use hosts may not have their keys.
        """
        if (private := context.hosts.private_in(parameters.source)) is not None:
            return Outcome(Verdict.FAILED, f"{parameters.source} is not copied: {private} is the daemon's own")
        host = context.hosts.get(context.device).ssh
        rules = Ignore.of(parameters.ignore)
        done = sync_to(host, parameters.source, parameters.to, delete=parameters.delete, ignore=rules)
        context.measure([Measurement("copied", done.copied, "1"), Measurement("removed", done.removed, "1")])
        context.output("copied", done.copied)
        return Outcome(Verdict.PASSED)


class Fetch:
    """Satisfies `labctl.steps.Action`: keeps files of the lane's host as artifacts of the run."""

    parameters = FetchParameters

    def run(self, context: StepContext, parameters: FetchParameters) -> Outcome:
        """Keep the file, or each file of the folder under its path in it. Nothing there fails the step."""
        host = context.hosts.get(context.device).ssh
        place = context.folder / "fetched"
        try:
            try:
                sync_from(host, parameters.path, place, ignore=Ignore.of(parameters.ignore))
            except CopyError:
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir()
                get(host, parameters.path, place)
        except CopyError as exc:
            return Outcome(Verdict.FAILED, str(exc))
        files = sorted(path for path in place.rglob("*") if path.is_file() and not path.is_symlink())
        for file in files:
            name = str(file.relative_to(place)) if len(files) > 1 or parameters.name is None else parameters.name
            context.keep(file, name, "application/octet-stream")
        context.measure([Measurement("fetched", len(files), "1")])
        context.output("files", [str(file.relative_to(place)) for file in files])
        return Outcome(Verdict.PASSED)


class Cycle:
    """Satisfies `labctl.steps.Action`: switches the power of the lane's host off and on."""

    parameters = CycleParameters

    def run(self, context: StepContext, parameters: CycleParameters) -> Outcome:
        """Cycle; a host that does not come back is the lab's fault."""
        host = context.hosts.get(context.device)
        if host.power is None:
            raise LabFailureError(f"the lab file names no power switch for {context.device}")
        cycle(host.power, parameters.pause_s, context.cancellation.wait)
        host.ssh.hang_up()
        if parameters.wait_s:
            host.wait_until_up(parameters.wait_s, context.cancellation.wait)
        if context.cancellation.asked:
            return Outcome(context.cancellation.verdict, context.cancellation.reason)
        return Outcome(Verdict.PASSED)
