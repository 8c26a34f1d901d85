"""`labctl serve`."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType

from labctl.cli.exits import PASSED, USAGE, ExpectedError


def run_daemon_process(lab_file: Path, host: str, port: int, data: Path, database: str | None) -> int:
    """Read the lab file, take the address, serve until told to end."""
    from labctl.cli.installation import check_top_level_packages

    check_top_level_packages()

    from drivers.documents import DocumentError
    from labctl.config import load_lab
    from labctl.logs import configure
    from labctl.server import BindError, bind, serve
    from labctl.store.database import StoreError

    configure()
    try:
        lab = load_lab(lab_file)
        listener = bind(host, port)
    except (DocumentError, BindError) as exc:
        raise ExpectedError(str(exc), USAGE) from None
    # Before the server takes over, a wish to end must not leave children behind.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with listener:
            serve(lab, listener, data, database)
    except StoreError as exc:
        raise ExpectedError(str(exc), USAGE) from None
    except KeyboardInterrupt:
        return PASSED
    return PASSED


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
