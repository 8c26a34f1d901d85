"""Runs a local project on a host: upload what changed, run, stream, fetch the results."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from drivers.protocols import Shell
from drivers.ssh import listing
from drivers.ssh.host import Command
from drivers.ssh.ignoring import Ignore
from drivers.ssh.process import Completed, OnOutput
from drivers.ssh.syncing import OnStep, Synced, sync_from, sync_to

RESULTS = "results"


@dataclass(frozen=True, slots=True)
class ProjectRun:
    """A finished run. `fetched`: None when the run left no results."""

    uploaded: Synced
    completed: Completed
    fetched: Synced | None
    folder: str


def remote_folder(project: Path) -> str:
    """Where a project lies on hosts unless told otherwise: one place for each project of each machine."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", project.resolve().name) or "project"
    origin = re.sub(r"[^A-Za-z0-9._-]", "_", socket.gethostname()) or "here"
    return f"~/labctl-projects/{origin}/{name}"


def run_project(
    host: Shell,
    project: Path,
    command: Command,
    *,
    folder: str = "",
    results: str = RESULTS,
    ignore: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    on_output: OnOutput | None = None,
    on_step: OnStep = lambda _what, _done, _all: None,
) -> ProjectRun:
    """Make `folder` on the host as `project`, run `command` in it, bring its folder `results` back, however it ended.

    What the project's .labctlignore (else .gitignore) names stays here; so do the results of earlier runs.
    Raises SshError.
    """
    where = folder or remote_folder(project)
    rules = Ignore.for_project(project, (*ignore, f"/{results}/"))
    uploaded = sync_to(host, project, where, delete=True, ignore=rules, on_step=on_step)
    place = f"{where}/{results}"
    settings = {"PYTHONUNBUFFERED": "1", **(env or {})}
    completed = host.exec(command, cwd=where, env=settings, timeout_s=timeout_s, on_output=on_output)
    fetched = None
    if listing.there(host, place, Ignore.of(())) is not None:
        fetched = sync_from(host, place, project / results, on_step=on_step)
    return ProjectRun(uploaded, completed, fetched, where)
