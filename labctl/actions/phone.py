"""Steps that handle a phone beside what is tapped on it: apps, files, logs, recordings, making it clean again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from devices.phones import AdbTools, AppiumTools, PhoneTools
from devices.webdriver import WebDriverError
from drivers.adb import AdbServer, Phone
from drivers.adb.screen import LONGEST_S
from drivers.adb.wire import AdbRefusedError
from labctl.config.webdriver import AdbSection, PhoneConfig
from labctl.errors import LabFailureError
from labctl.steps import LabHosts, Measurement, Outcome, StepContext, Verdict

_PASSED = Outcome(Verdict.PASSED)
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,80}$")]
_Path = Annotated[str, Field(min_length=1, max_length=1000)]
_App = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,200}$")]


def _below(path: str) -> str:
    if ".." in path.split("/"):
        raise ValueError('".." leads out of the folders that jobs may change')
    return path


_Writable = Annotated[str, Field(pattern=r"^/(sdcard|storage|data/local/tmp)/.+"), AfterValidator(_below)]


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InstallParameters(_Parameters):
    """`app`: an .apk or .ipa, as the name of a file of this run or the id of an uploaded one."""

    app: _Path


class PushParameters(_Parameters):
    """`file`: the name of a file of this run or the id of an uploaded one; `to`: its path on the phone."""

    file: _Path
    to: _Path


class PullParameters(_Parameters):
    """`path` on the phone, kept as the artifact `name`, its own name unless given."""

    path: _Path
    name: _Name | None = None


class LogsParameters(_Parameters):
    """Keeps the phone's log as the artifact `name`; `last_s`: of the last seconds only.

    `forbid`: texts, such as "FATAL EXCEPTION", that fail the step when a line has one.
    """

    name: _Name = "phone.log"
    last_s: Annotated[float, Field(gt=0, le=86_400)] | None = None
    forbid: tuple[Annotated[str, Field(min_length=1, max_length=1000)], ...] = ()


class RecordParameters(_Parameters):
    """`do`: "start" (steps after it are on the film) or "stop", which keeps it as the artifact `name`.

    `limit_s`: when it ends by itself, 180 s at most.
    """

    do: Literal["start", "stop"]
    name: _Name = "screen.mp4"
    limit_s: Annotated[int, Field(ge=1, le=LONGEST_S)] = LONGEST_S


class ResetParameters(_Parameters):
    """Makes the phone clean: as an `after` hook, for whoever gets it next.

    `keep_apps`: patterns of the installed apps that may stay, others go (over adb); none go unless it is given.
    `clear`: apps whose data goes; `remove`: files and folders; as in the lab file's `adb` section unless given.
    """

    keep_apps: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] | None = None
    clear: tuple[_App, ...] | None = None
    remove: tuple[_Writable, ...] | None = None


class Install:
    """`phone.install`: put an app on the phone."""

    parameters = InstallParameters

    def run(self, context: StepContext, parameters: InstallParameters) -> Outcome:
        def work(tools: PhoneTools) -> Outcome:
            began = time.monotonic()
            tools.install(context.find(parameters.app))
            context.measure([Measurement("installation", time.monotonic() - began, "s")])
            return _PASSED

        return _judged(context, work)


class Push:
    """`phone.push`: copy a file to the phone."""

    parameters = PushParameters

    def run(self, context: StepContext, parameters: PushParameters) -> Outcome:
        def work(tools: PhoneTools) -> Outcome:
            tools.push(context.find(parameters.file), parameters.to)
            return _PASSED

        return _judged(context, work)


class Pull:
    """`phone.pull`: keep a file of the phone."""

    parameters = PullParameters

    def run(self, context: StepContext, parameters: PullParameters) -> Outcome:
        def work(tools: PhoneTools) -> Outcome:
            name = parameters.name or parameters.path.rstrip("/").rpartition("/")[2]
            file = context.folder / "pulled"
            tools.pull(parameters.path, file)
            context.keep(file, name, "application/octet-stream")
            context.output("bytes", file.stat().st_size)
            return _PASSED

        return _judged(context, work)


class Logs:
    """`phone.logs`: keep the phone's log, and fail for lines that must not be in it."""

    parameters = LogsParameters

    def run(self, context: StepContext, parameters: LogsParameters) -> Outcome:
        def work(tools: PhoneTools) -> Outcome:
            since = None if parameters.last_s is None else _now(tools) - parameters.last_s
            text = tools.log(since)
            file = context.folder / "log"
            file.write_text(text, encoding="utf-8")
            context.keep(file, parameters.name, "text/plain")
            bad = [line for line in text.splitlines() if any(each in line for each in parameters.forbid)]
            context.measure([Measurement("log lines", len(text.splitlines()), "1")])
            if bad:
                return Outcome(
                    Verdict.FAILED, f"{len(bad)} forbidden lines in the phone's log, such as: {bad[0][:300]}"
                )
            return _PASSED

        return _judged(context, work)


class Record:
    """`phone.record`: film the phone's screen."""

    parameters = RecordParameters

    def run(self, context: StepContext, parameters: RecordParameters) -> Outcome:
        def work(tools: PhoneTools) -> Outcome:
            if parameters.do == "start":
                tools.start_recording(parameters.limit_s)
                return _PASSED
            file = context.folder / "screen.mp4"
            tools.finish_recording(file)
            context.keep(file, parameters.name, "video/mp4")
            return _PASSED

        return _judged(context, work)


class Reset:
    """`phone.reset`: remove what a job left on the phone."""

    parameters = ResetParameters

    def run(self, context: StepContext, parameters: ResetParameters) -> Outcome:
        adb = _config(context).adb
        clear = parameters.clear if parameters.clear is not None else (adb.clear if adb else ())
        remove = parameters.remove if parameters.remove is not None else (adb.remove if adb else ())

        def work(tools: PhoneTools) -> Outcome:
            gone = _apps_to_remove(tools, parameters.keep_apps)
            for app in gone:
                tools.uninstall(app)
            for app in clear:
                tools.clear(app)
            for path in remove:
                tools.remove(path)
            context.output("removed_apps", gone)
            return _PASSED

        # Whoever gets the phone next must not find it dirty: that it could not be cleaned is the lab's failure.
        return _judged(context, work, refused=Verdict.ERRORED)


def _apps_to_remove(tools: PhoneTools, keep: tuple[str, ...] | None) -> list[str]:
    if keep is None:
        return []
    if not isinstance(tools, AdbTools):
        raise LabFailureError("which apps a phone has is known over adb only: give it an adb section, or no keep_apps")
    found = sorted(tools.phone.packages())
    return [app for app in found if not any(fnmatchcase(app, pattern) for pattern in keep)]


def _now(tools: PhoneTools) -> float:
    return tools.phone.now() if isinstance(tools, AdbTools) else time.time()


def _judged(context: StepContext, work: Callable[[PhoneTools], Outcome], refused: Verdict = Verdict.FAILED) -> Outcome:
    try:
        with _tools(context) as tools:
            return work(tools)
    except AdbRefusedError as exc:
        return Outcome(refused, str(exc))
    except WebDriverError as exc:
        lost = exc.code == "invalid session id"
        return Outcome(Verdict.ERRORED if lost else refused, f"{context.device}: {exc.code}: {exc.message}")


def _config(context: StepContext) -> PhoneConfig:
    config = context.lab.devices[context.device]
    if not isinstance(config, PhoneConfig):
        raise LabFailureError(f"{context.device} is no phone but a {config.kind}: phone steps are for phones")
    return config


@contextmanager
def _tools(context: StepContext) -> Iterator[PhoneTools]:
    config = _config(context)
    if config.adb is not None:
        with adb_phone(context, config) as phone:
            yield AdbTools(phone, recording=f"/sdcard/labctl-{context.run}.mp4")
    elif context.sessions.is_open(context.run, context.device):
        yield AppiumTools(partial(context.sessions.call, context.run, context.device))
    else:
        raise LabFailureError(
            f"{context.device} has no adb section in the lab file and no session: open one with webdriver.open first"
        )


@contextmanager
def adb_phone(context: StepContext, config: PhoneConfig) -> Iterator[Phone]:
    """The phone on its adb server, through the tunnel of the host that this is on."""
    assert config.adb is not None
    with adb_server(config.adb, context.hosts) as server:
        yield server.phone(str(config.udid))


@contextmanager
def adb_server(adb: AdbSection, hosts: LabHosts) -> Iterator[AdbServer]:
    """The adb server of a phone, through the tunnel of the host that this is on."""
    server = AdbServer.at(adb.server)
    with ExitStack() as stack:
        if adb.host is not None:
            forward = hosts.get(adb.host).ssh.forward(f"{server.host}:{server.port}")
            stack.callback(forward.close)
            server = AdbServer("127.0.0.1", forward.port)
        yield server
