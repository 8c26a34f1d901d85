"""Errors that a person or a program outside the daemon gets to see, each with its HTTP status."""

from __future__ import annotations

from typing import Any


class LabError(Exception):
    """Something asked of the lab that it cannot do. `extra` becomes members of the problem document."""

    status = 400
    title = "Bad request"

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra


class InvalidInputError(LabError):
    """What was sent is not understood; `errors` says where: `[{"pointer": "/duration_s", "detail": ...}]`."""

    status = 422
    title = "Invalid input"


class TooLargeError(LabError):
    """A request's body is larger than anything sensible."""

    status = 413
    title = "Too large"


class NotFoundError(LabError):
    """There is no such thing."""

    status = 404
    title = "Not found"


class NotAuthenticatedError(LabError):
    """Nobody knows who asks."""

    status = 401
    title = "Who are you?"


class NotAllowedError(LabError):
    """The principal may not do this."""

    status = 403
    title = "Not allowed"


class ConflictError(LabError):
    """The present state forbids it."""

    status = 409
    title = "Conflict"


class DeviceTakenError(ConflictError):
    """Somebody else holds what was asked for."""

    title = "Device taken"


class UnavailableError(LabError):
    """A part of the lab does not answer now."""

    status = 503
    title = "Unavailable"


class LabFailureError(Exception):
    """A run cannot go on for a reason on the lab's side; its verdict is errored."""
