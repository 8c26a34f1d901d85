"""How a host is, what its clock says, and restarting it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from _sshd import Sshd, prepare
from hypothesis import given
from hypothesis import strategies as st

from drivers.ssh import CommandFailedError, SshError, SshHost
from drivers.ssh.clock_offset import ClockOffset, between, clock_offset
from drivers.ssh.health import Disk, HostHealth, Limits, examine, parse
from drivers.ssh.reboot import boot_id, reboot

Eventually = Callable[[Callable[[], object]], None]


def test_a_host_says_how_it_is(host: SshHost, tmp_path: Path) -> None:
    health = examine(
        host, disks=["/", str(tmp_path), "/no/such/disk"], packages=["sh", "no-such-package"], units=["x.service"]
    )
    assert health.hostname == os.uname().nodename
    assert health.processors == os.cpu_count()
    assert health.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    usage = shutil.disk_usage("/")
    assert [disk.path for disk in health.disks] == ["/", str(tmp_path), "/no/such/disk"]
    assert health.disks[0].total_bytes == pytest.approx(usage.total, rel=0.2)
    assert health.disks[2].total_bytes == 0
    assert health.missing_packages == ("no-such-package",)
    assert health.units["x.service"] != "active"
    assert health.clock is not None
    assert abs(health.clock.offset_s) <= health.clock.error_s
    assert health.memory_total_bytes is not None
    complaints = health.complaints(
        Limits(disk_free_bytes=0, disk_free_ratio=0, load_per_processor=1e9, temperature_c=1e9)
    )
    assert [line.partition(":")[0] for line in complaints if "memory" not in line] == [
        "/no/such/disk",
        "missing",
        f"x.service is {health.units['x.service']}",
    ]


def test_complaints_say_what_to_do() -> None:
    ill = HostHealth(
        "nuc", "", "", "", "",
        load=9.0,
        processors=4,
        memory_total_bytes=10**9,
        memory_free_bytes=10**7,
        temperature_c=96.0,
        disks=(Disk("/data", 10**12, 10**8),),
        missing_packages=("socat", "ser2net"),
        units={"lidar.service": "failed", "guard.service": "active"},
        clock=ClockOffset(600.0, 0.004),
    )  # fmt: skip
    assert ill.complaints(Limits()) == [
        "/data is full but for 100 MB: make room",
        "load is 9.0 on 4 processors: see what runs (top)",
        "only 10 MB of memory are free: see what runs (top)",
        "it is 96 °C hot: check the fan",
        "its clock is off by +600.000 s: start chrony or systemd-timesyncd",
        "missing: sudo apt-get install socat ser2net",
        "lidar.service is failed: sudo systemctl restart lidar.service",
    ]
    assert HostHealth("nuc", "", "", "", "", clock=ClockOffset(0.7, 0.3)).complaints(Limits()) == []


def test_what_is_no_health_report() -> None:
    with pytest.raises(SshError, match="does not tell how it is"):
        parse("bash: printf: not found\n", "nuc")


def test_a_clock_ten_minutes_off_is_seen(host: SshHost) -> None:
    seen = clock_offset(host, now=lambda: time.time() - 600)
    assert seen.offset_s == pytest.approx(600, abs=seen.error_s)
    assert seen.error_s < 5


@given(offset=st.floats(-1e4, 1e4), out=st.floats(0, 10), back=st.floats(0, 10), sent=st.floats(0, 1e6))
def test_the_stated_error_holds_however_unequal_the_ways_are(
    offset: float, out: float, back: float, sent: float
) -> None:
    arrived = sent + out
    seen = between(sent, arrived + offset, arrived + back)
    assert abs(seen.offset_s - offset) <= seen.error_s + 1e-6


@pytest.fixture
def restartable(tmp_path: Path) -> Sshd:
    """An sshd that sees a boot id of its own, as after a restart of its machine."""
    if os.getuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("giving an sshd a boot of its own needs root")
    return prepare(tmp_path / "sshd")


def boot(server: Sshd, number: int) -> None:
    file = server.folder / "boot"
    file.write_text(f"00000000-0000-4000-8000-{number:012d}\n")
    script = f'mount --bind {file} /proc/sys/kernel/random/boot_id && exec "$@"'
    server.start(["unshare", "-m", "sh", "-c", script, "boot"])


def test_a_restart_is_over_when_another_boot_answers(restartable: Sshd) -> None:
    server = restartable
    boot(server, 1)
    steps: list[str] = []

    def follow(step: str) -> None:
        steps.append(step)
        if step == "waiting until it answers" and server.process is None:
            boot(server, 2)
        elif step == "it is going down":
            carrying = server.sessions()
            server.stop()
            for pid in carrying:
                os.kill(pid, 9)

    try:
        with SshHost.open(server.settings) as host:
            assert boot_id(host).endswith("1")
            took = reboot(host, command="true", timeout_s=60, on_progress=follow)
            assert boot_id(host).endswith("2")
    finally:
        server.stop()
    assert took > 0
    assert [steps[0], steps[-1]] == ["asking it to restart", "it is back"]


def test_a_host_that_may_not_or_does_not_restart(host: SshHost) -> None:
    with pytest.raises(CommandFailedError, match=r"does not restart: sorry; allow it with a sudoers line"):
        reboot(host, command="echo sorry >&2; exit 1")
    with pytest.raises(SshError, match="did not come back from its restart: it is still the boot from before"):
        reboot(host, command="true", timeout_s=1.5)
