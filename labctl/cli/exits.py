"""Exit codes, and the errors that end a command with a sentence instead of a traceback."""

from __future__ import annotations

PASSED, FAILED, USAGE, ERRORED, CANCELLED = 0, 1, 2, 3, 4
INTERRUPTED = 130
OF_VERDICT = {"passed": PASSED, "failed": FAILED, "errored": ERRORED, "cancelled": CANCELLED}


class ExpectedError(Exception):
    """What went wrong and what to do about it. `code`: the exit code."""

    def __init__(self, message: str, code: int = ERRORED) -> None:
        super().__init__(message)
        self.code = code
