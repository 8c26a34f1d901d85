"""`labctl serve`."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType

from labctl.cli.exits import PASSED, USAGE, ExpectedError

_LOOK_FOR_PARENT_S = 0.5


def run_daemon_process(
    lab_file: Path,
    host: str,
    port: int,
    data: Path,
    database: str | None,
    *,
    parent: int | None,
    protection: tuple[Path | None, Path | None, bool] = (None, None, False),
    advertise: str | None = None,
) -> int:
    """Read the lab file, take the address, serve until told to end."""
    from labctl.cli.installation import check_top_level_packages

    check_top_level_packages()

    from drivers.documents import DocumentError
    from labctl.auth.authority import NoTokenError
    from labctl.config import load_lab
    from labctl.logs import configure
    from labctl.server import BindError, Exposure, advertised, bind, serve
    from labctl.store.daemons import ArtifactsError
    from labctl.store.database import StoreError
    from labctl.store.inventory import DeviceOwnedError

    configure()
    try:
        exposure = Exposure(*protection)
        advertise = None if advertise is None else advertised(advertise)
        lab = load_lab(lab_file)
        listener = bind(host, port, exposure)
    except (DocumentError, BindError) as exc:
        raise ExpectedError(str(exc), USAGE) from None
    # Before the server takes over, a wish to end must not leave children behind.
    signal.signal(signal.SIGTERM, _interrupt)
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        with listener:
            serve(lab, listener, data, database, exposure, advertise=advertise)
    except (BindError, StoreError, DeviceOwnedError, ArtifactsError, NoTokenError) as exc:
        raise ExpectedError(str(exc), USAGE) from None
    except KeyboardInterrupt:
        return PASSED
    return PASSED


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_FOR_PARENT_S)
    os.kill(os.getpid(), signal.SIGTERM)
