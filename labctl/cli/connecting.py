"""A connection to the daemon whose refusals end the command with their own words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from labctl.cli.exits import ERRORED, USAGE, ExpectedError
from labctl.client import Lab, LabAddressError, LabClientError

# Wrong input of the user's: unknown names, wrong documents.
_OF_THE_USER = (400, 404, 413, 422)


@contextmanager
def connected(url: str | None, token: str | None = None, ca: str | None = None) -> Iterator[Lab]:
    """The lab at `url`. A refusal inside becomes an ExpectedError."""
    with Lab(url, token, ca) as lab:
        try:
            yield lab
        except LabClientError as exc:
            wrong = isinstance(exc, LabAddressError) or exc.status in _OF_THE_USER
            raise ExpectedError(str(exc), USAGE if wrong else ERRORED) from None
