"""A link that is cut while a command runs: both sides notice, and nothing stays behind on the host."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from _sshd import Sshd, sshd, trusting
from _wire import Wire

from drivers.ssh import LinkLostError, SshError, SshHost

Processes = Callable[[str], list[int]]
Eventually = Callable[[Callable[[], object]], None]
STUBBORN = "trap '' TERM HUP; setsid sleep {0} & echo up; while :; do sleep {0}; done"


def test_a_silent_cut_ends_a_command_on_both_sides(line: Wire, processes: Processes, eventually: Eventually) -> None:
    mark = f"{os.getpid()}11"
    with SshHost.open(line.settings) as host:
        process = host.start(STUBBORN.format(mark))
        next(process.output())
        eventually(lambda: len(processes(f"sleep\0{mark}")) == 2)
        line.cut()
        with pytest.raises(LinkLostError, match=r"was lost: .* while .* ran; the host kills it"):
            process.communicate()
        # The link is still cut: the host does this by itself.
        eventually(lambda: not processes(f"sleep\0{mark}"))
        line.mend()
        eventually(lambda: _answers(host))
        assert host.exec("echo again").text == "again"


def _answers(host: SshHost) -> bool:
    try:
        host.connect()
    except SshError:
        return False
    return True


def test_a_client_that_is_killed_leaves_nothing_behind(
    server: Sshd, processes: Processes, eventually: Eventually, tmp_path: Path
) -> None:
    mark = f"{os.getpid()}12"
    settings = server.settings
    script = (
        "import sys; from pathlib import Path; from drivers.ssh import SshHost, SshSettings\n"
        f"host = SshHost.open(SshSettings({settings.address!r}, {settings.user!r}, {settings.port},"
        f" keys=(Path({str(settings.keys[0])!r}),), agent=False, known_hosts=Path({str(settings.known_hosts)!r})))\n"
        f"host.exec({STUBBORN.format(mark)!r})\n"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as client:
        eventually(lambda: len(processes(f"sleep\0{mark}")) == 2)
        client.kill()
    eventually(lambda: not processes(f"sleep\0{mark}"))


def test_a_cut_behind_the_jump_host_is_noticed_too(
    line: Wire, tmp_path_factory: pytest.TempPathFactory, processes: Processes, eventually: Eventually
) -> None:
    mark = f"{os.getpid()}13"
    with sshd(tmp_path_factory.mktemp("gateway"), name="gateway") as gateway:
        behind = replace(trusting(line.server, gateway), silence_s=2.0)
        if line.settings.port != line.server.port:
            pytest.skip("a relay has another name than the host behind it")
        with SshHost.open(gateway.settings) as jump, SshHost.open(behind, via=jump) as host:
            process = host.start(f"echo up; sleep {mark}")
            next(process.output())
            line.cut()
            with pytest.raises(LinkLostError, match="no sign of life for 2 s"):
                process.communicate()
            assert jump.exec("echo well").text == "well"
            eventually(lambda: not processes(f"sleep\0{mark}"))


def test_cancelling_over_a_cut_link_does_not_wait_for_ever(
    line: Wire, processes: Processes, eventually: Eventually
) -> None:
    mark = f"{os.getpid()}14"
    with SshHost.open(line.settings) as host:
        process = host.start(f"echo up; sleep {mark}")
        next(process.output())
        line.cut()
        failed: list[BaseException] = []

        def cancel() -> None:
            try:
                process.cancel("no longer wanted")
            except LinkLostError as exc:
                failed.append(exc)

        thread = threading.Thread(target=cancel)
        thread.start()
        thread.join(60)
        assert not thread.is_alive()
        assert failed
        eventually(lambda: not processes(f"sleep\0{mark}"))
