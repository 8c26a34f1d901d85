"""Whether the lab has a device for each role of a job."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence

from drivers.documents import Document, Problem
from labctl.jobs.model import Job
from labctl.jobs.salvaging import ANY_KIND
from labctl.matching import Candidate


def unfilled(document: Document, job: Job, devices: Sequence[Candidate]) -> Iterator[Problem]:
    """Roles that none of the devices could ever fill, each at what is misspelt in it where that can be told."""
    for name, role in job.roles.items():
        wanted = role.requirement(name)
        if role.kind == ANY_KIND or any(wanted.admits(each) for each in devices):
            continue
        if wanted.device is not None:
            names = [each.name for each in devices]
            told = f"there is no device {wanted.device!r}; {_close(wanted.device, names, 'devices are')}"
            yield document.problem(("roles", name, "device"), told)
            continue
        told = f"the lab has no devices that could fill this, even if all were free: {wanted}"
        if wanted.kind is not None and wanted.kind not in (kinds := {each.kind for each in devices}):
            yield document.problem(("roles", name, "kind"), f"{told}; {_close(wanted.kind, kinds, 'kinds are')}")
        else:
            yield document.problem(("roles", name), told)


def _close(name: str, known: Iterable[str], told: str) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"{told}: {', '.join(names) or 'none'}"
