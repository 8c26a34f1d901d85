"""Commands on a host: what they say, how they end, and that nothing of them is left when they are told to end."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from _sshd import Sshd

from drivers.ssh import (
    CommandCancelledError,
    CommandFailedError,
    CommandTimeoutError,
    SshHost,
    Stream,
    Terminal,
)

Processes = Callable[[str], list[int]]
Eventually = Callable[[Callable[[], object]], None]
_marks = iter(range(10**6, 10**7))


@pytest.fixture
def mark() -> str:
    """Seconds to sleep that no other process of this machine sleeps."""
    return f"{os.getpid()}{next(_marks)}"


def test_output_and_exit_status(host: SshHost) -> None:
    ended = host.exec("echo out; echo err >&2; exit 3")
    assert (ended.stdout, ended.stderr, ended.exit_status, ended.signal) == (b"out\n", b"err\n", 3, None)


def test_a_signal_counts_as_in_a_shell(host: SshHost) -> None:
    ended = host.exec(["sh", "-c", "kill -KILL $$"])
    assert (ended.exit_status, ended.signal) == (137, "KILL")


def test_words_are_not_looked_at_by_a_shell(host: SshHost) -> None:
    words = ["printf", "%s|", "a b", "$HOME", "'", '"', "`id`", ";exit", "\n", "*", "ü\\"]
    assert host.exec(words).stdout.decode() == "a b|$HOME|'|\"|`id`|;exit|\n|*|ü\\|"


def test_folder_and_environment(host: SshHost) -> None:
    assert host.exec("echo $A; pwd", cwd="/", env={"A": "1 '2' $3"}).stdout == b"1 '2' $3\n/\n"
    assert host.exec("true", cwd="/there/is/none").exit_status == 127
    with pytest.raises(ValueError, match="no name of an environment variable"):
        host.exec("true", env={"A;B": ""})


def test_binary_output_comes_unchanged(host: SshHost) -> None:
    ended = host.exec(["printf", r"\000\377\r\n\033[0m\200"])
    assert ended.stdout == b"\x00\xff\r\n\x1b[0m\x80"


def test_output_streams_while_the_command_runs(host: SshHost) -> None:
    with host.start("echo first; read answer; echo $answer") as process:
        pieces = process.output()
        assert next(pieces) == (Stream.STDOUT, b"first\n")
        process.write(b"second\n")
        assert next(pieces) == (Stream.STDOUT, b"second\n")
        assert list(pieces) == []
        assert process.exit_status == 0


@pytest.mark.parametrize("size", [0, 1, 65_537, 5_000_000])
def test_input_reaches_the_command(host: SshHost, size: int) -> None:
    data = os.urandom(size)
    assert host.exec("cat", stdin=data).stdout == data
    assert host.exec("wc -c", stdin=io.BytesIO(data)).text == str(size)


def test_input_that_nobody_reads_is_no_error(host: SshHost) -> None:
    assert host.exec("exit 4", stdin=bytes(5_000_000)).exit_status == 4


def test_input_for_a_command_that_just_ended_costs_nobody_the_connection(host: SshHost) -> None:
    before, ends = sys.getswitchinterval(), []

    def feed() -> None:
        for _ in range(60):
            with host.start("exit 3") as process:
                with contextlib.suppress(BrokenPipeError):
                    while True:
                        process.write(b"more")
                process.end_input()
                ends.append(process.wait(60))

    sys.setswitchinterval(1e-5)  # threads are held up between making a message and sending it
    try:
        with ThreadPoolExecutor(5) as threads:
            for each in [threads.submit(feed) for _ in range(5)]:
                each.result()
    finally:
        sys.setswitchinterval(before)
    assert ends == [3] * 300


def test_new_keys_are_agreed_upon_while_commands_end(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paramiko.packet.Packetizer.REKEY_BYTES", 1 << 20)  # 512 MiB unless for a test

    def read(host: SshHost) -> int:
        return sum(len(host.exec(["head", "-c", "300000", "/dev/zero"]).stdout) for _ in range(20))

    with SshHost.open(replace(server.settings, silence_s=5.0)) as host, ThreadPoolExecutor(5) as threads:
        assert [each.result() for each in [threads.submit(read, host) for _ in range(5)]] == [6_000_000] * 5


def test_without_input_a_command_that_reads_ends(host: SshHost) -> None:
    assert host.exec("cat").stdout == b""


def test_a_hundred_megabytes_pass_in_bounded_memory(host: SshHost) -> None:
    seen = 0

    def count(stream: Stream, data: bytes) -> None:
        nonlocal seen
        seen += len(data)

    tracemalloc.start()
    try:
        ended = host.exec("head -c 100000000 /dev/zero", on_output=count)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (seen, ended.exit_status) == (100_000_000, 0)
    assert peak < 16_000_000


def test_of_too_much_output_the_end_is_kept(host: SshHost) -> None:
    ended = host.exec("seq 1 200000", keep_bytes=14)
    assert (ended.stdout, ended.dropped_bytes) == (b"199999\n200000\n", 1_288_895 - 14)


def test_an_error_quotes_the_last_words(host: SshHost) -> None:
    with pytest.raises(CommandFailedError, match=r"reading the disks on nuc .* exit status 5: no disks") as caught:
        host.exec("echo no disks >&2; exit 5", check="reading the disks")
    assert caught.value.exit_status == 5


STUBBORN = (
    "trap '' TERM HUP; sleep {0} & setsid sleep {0} & timeout 99999 sleep {0} & echo up; while :; do sleep {0}; done"
)


def test_a_deadline_kills_what_ignores_term(host: SshHost, processes: Processes, mark: str) -> None:
    with pytest.raises(CommandTimeoutError, match=r"still running after 0\.5 s and was killed") as caught:
        host.exec(STUBBORN.format(mark), timeout_s=0.5)
    assert caught.value.stdout == b"up\n"
    assert processes(f"sleep\0{mark}") == []


def test_cancelling_kills_all_of_it(host: SshHost, processes: Processes, mark: str) -> None:
    with host.start(STUBBORN.format(mark)) as process:
        pieces = process.output()
        next(pieces)
        thread = threading.Thread(target=process.cancel, args=("no longer wanted",))
        thread.start()
        with pytest.raises(CommandCancelledError, match="no longer wanted"):
            list(pieces)
        thread.join()
    assert processes(f"sleep\0{mark}") == []


def test_a_stopped_command_is_killed_too(host: SshHost, processes: Processes, mark: str) -> None:
    with pytest.raises(CommandTimeoutError):
        host.exec(f"sleep {mark} & kill -STOP $!; kill -STOP $$", timeout_s=0.5)
    assert processes(f"sleep\0{mark}") == []


def test_letting_go_of_a_process_kills_it(
    host: SshHost, processes: Processes, eventually: Eventually, mark: str
) -> None:
    with host.start(f"exec sleep {mark}"):
        eventually(lambda: processes(f"sleep\0{mark}"))
    assert processes(f"sleep\0{mark}") == []


def test_closing_the_host_kills_what_runs(
    server: Sshd, processes: Processes, eventually: Eventually, mark: str
) -> None:
    with SshHost.open(server.settings) as host:
        process = host.start(STUBBORN.format(mark))
        next(process.output())
        assert processes(f"sleep\0{mark}")
    assert processes(f"sleep\0{mark}") == []
    assert process.wait(60) == 137


def test_what_a_command_leaves_running_on_purpose_goes_on(
    server: Sshd, processes: Processes, eventually: Eventually, mark: str
) -> None:
    with SshHost.open(server.settings) as host:
        ended = host.exec(f"setsid sleep {mark} >/dev/null 2>&1 </dev/null & echo started")
        assert ended.stdout == b"started\n"
    (left,) = processes(f"sleep\0{mark}")
    os.kill(left, 9)


def test_a_child_that_holds_the_output_does_not_hold_us(host: SshHost, processes: Processes, mark: str) -> None:
    assert host.exec(f"sleep {mark} & echo $!").exit_status == 0
    (left,) = processes(f"sleep\0{mark}")
    os.kill(left, 9)


def test_a_terminal_has_the_size_it_is_given(host: SshHost) -> None:
    with host.start("stty size; read x; stty size", terminal=Terminal(width=132, height=43)) as process:
        pieces = process.output()
        assert next(pieces)[1].strip() == b"43 132"
        process.resize(100, 30)
        process.write(b"\n")
        assert b"".join(data for _, data in pieces).split() == [b"30", b"100"]


def test_more_commands_at_once_than_one_connection_takes(host: SshHost) -> None:
    processes = [host.start(f"read x; echo {number}") for number in range(25)]
    for process in processes:
        process.write(b"\n")
    said = [process.communicate().text for process in processes]
    assert said == [str(number) for number in range(25)]


def test_an_sshd_that_allows_few_sessions_gets_more_connections(tmp_path_factory: pytest.TempPathFactory) -> None:
    from _sshd import sshd  # noqa: PLC0415 - this test alone needs one of its own

    with (
        sshd(tmp_path_factory.mktemp("few"), options="MaxSessions 3") as few,
        SshHost.open(few.settings) as host,
    ):
        processes = [host.start(f"read x; echo {number}") for number in range(6)]
        assert [process.communicate(stdin=b"\n").text for process in processes] == list("012345")


def test_nonsense_is_refused_before_it_is_sent(host: SshHost) -> None:
    with pytest.raises(ValueError, match="empty"):
        host.exec("  ")
    with pytest.raises(ValueError, match="NUL"):
        host.exec(["printf", "a\0b"])
    for name in ("A B", "1A", "A\n", "", "A;B"):
        with pytest.raises(ValueError, match="no name of an environment variable"):
            host.exec("true", env={name: "x"})
