"""What a browser that fails means to whoever drives through its page: a device that failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from devices.webdriver import WebDriverError
from drivers.errors import DeviceError


@contextmanager
def told_as_device(what: str) -> Iterator[None]:
    """Raises DeviceError, `what` with the browser's own words, where the browser refuses a command."""
    try:
        yield
    except WebDriverError as exc:
        # Drivers say the code again, and add lines that tell of their version and of their own stack.
        said = exc.message.splitlines()[0] if exc.message else ""
        raise DeviceError(f"{what} ({said if said.startswith(exc.code) else f'{exc.code}: {said}'})") from exc
