"""The warden: a few lines of shell on the host, which kill our commands when asked or when the link is lost.

sshd kills nothing that runs without a terminal when a connection ends, and its signals reach one process only. So
each connection runs a warden. A command tells it its process id before it starts, through the warden's own pipe: no
moment is left in which it runs unknown. The warden ends what it knows of when its input ends (the connection was
closed, or sshd noticed the cut) or when no beat came for the agreed silence (nobody noticed). To end a command means
TERM, then KILL, to every process of its session and to every process that carries its mark in the environment, until
none is left. A command that ended by itself is forgotten: what it left running on purpose goes on. Needs /proc: hosts
are Linux.
"""

from __future__ import annotations

import contextlib
import secrets
import threading

import paramiko

from drivers.ssh.errors import LinkLostError, SshError
from drivers.ssh.transport import send_all

_LAST_WORK_S = 5.0
# What the pipe takes at once is written at once, so lines of different writers never mix.
_SCRIPT = r"""
trap "" PIPE HUP INT
mark=$1 tick=$2
members() {
  leader=$1 number=$2
  for file in /proc/[0-9]*/stat; do
    { IFS= read -r line <"$file"; } 2>/dev/null || continue
    set -- ${line##*) }
    case $1 in Z|X) continue ;; esac
    if [ "$4" = "$leader" ]; then file=${file#/proc/}; echo "${file%/stat}"; fi
  done
  for file in $(grep -lsF "LABCTL_COMMAND=$mark.$number." /proc/[0-9]*/environ); do
    file=${file#/proc/}; echo "${file%/environ}"
  done
}
hundredths() {
  read -r up rest </proc/uptime
  now=${up%.*}${up#*.}
}
finish() {
  number=$1 leader=$2 grace=$3 signal=TERM left=unknown
  hundredths
  begun=$now told=
  while [ "$((now - begun))" -lt "$((grace + 1000))" ]; do
    left=$(members "$leader" "$number")
    [ -n "$left" ] || break
    [ "$((now - begun))" -lt "$grace" ] || signal=KILL
    if [ "$told" != TERM ] || [ "$signal" = KILL ]; then kill -s "$signal" $left; kill -s CONT $left; fi
    told=$signal
    sleep 0.02 || sleep 1
    hundredths
  done
  echo "ended $number" $left
}
{ cat; echo over; } | {
  read -r self rest </proc/self/stat
  echo "ready $self"
  { while sleep "$tick" && echo tick; do :; done; } >"/proc/$self/fd/0" &
  ticker=$!
  live= doomed= silent=0
  while read -r verb number value; do
    case $verb in
      tick) silent=$((silent + 1)); [ "$silent" -lt 4 ] || break ;;
      beat) silent=0 ;;
      run)
        live="$live $number:$value"
        case "$doomed " in *" $number:"*)
          after=${doomed##* "$number":}; finish "$number" "$value" "${after%% *}" & ;;
        esac ;;
      end)
        leader=
        for each in $live; do case $each in "$number":*) leader=${each#*:} ;; esac; done
        if [ -n "$leader" ]; then finish "$number" "$leader" "$value" & else doomed="$doomed $number:$value"; fi ;;
      done)
        kept=
        for each in $live; do case $each in "$number":*) ;; *) kept="$kept $each" ;; esac; done
        live=$kept kept=
        for each in $doomed; do case $each in "$number":*) ;; *) kept="$kept $each" ;; esac; done
        doomed=$kept ;;
      over) break ;;
    esac
  done
  kill "$ticker"
  for each in $live; do finish "${each%%:*}" "${each#*:}" 200 & done
  wait
}
"""


class Warden:
    """The warden of one connection. Thread-safe."""

    def __init__(self, transport: paramiko.Transport, host: str, silence_s: float, timeout_s: float) -> None:
        """Start it on the host. Raises SshError when that fails."""
        self._host = host
        self.mark = secrets.token_hex(6)
        self._lock = threading.Lock()
        self._ended: dict[int, threading.Event] = {}
        self._left: dict[int, str] = {}
        self._number = 0
        self._channel = transport.open_session(timeout=timeout_s)
        self._channel.settimeout(timeout_s)
        arguments = f"labctl-warden {self.mark} {silence_s / 4:g} 2>/dev/null"
        self._channel.exec_command(f"exec sh -c '{_quoted(_SCRIPT)}' {arguments}")
        self._lines = self._channel.makefile("rb")
        try:
            first = self._lines.readline().decode(errors="replace").split()
        except OSError as exc:
            raise SshError(f"{host} runs no shell for us within {timeout_s:g} s: {exc}") from exc
        if len(first) != 2 or first[0] != "ready":
            raise SshError(
                f"{host} runs no commands for us (it said {' '.join(first) or 'nothing'}): "
                "see that it is a Linux host and that the account has a POSIX shell and no ForceCommand"
            )
        self._path = f"/proc/{first[1]}/fd/0"
        self._channel.settimeout(None)
        threading.Thread(target=self._listen, name="ssh-warden", daemon=True).start()

    @property
    def alive(self) -> bool:
        return not self._channel.closed and not self._channel.eof_received

    def enrol(self) -> tuple[int, str]:
        """A number for the next command, and what its shell does first."""
        with self._lock:
            self._number += 1
            number = self._number
        mark = f"{self.mark}.{number}."
        # Nothing runs that nobody could end.
        tell = f"echo run {number} $$ >{self._path} || exit 126"
        return number, f"LABCTL_COMMAND={mark}; export LABCTL_COMMAND; {tell}; "

    def forget(self, number: int) -> None:
        """The command ended by itself."""
        with contextlib.suppress(OSError, EOFError):
            self._say(f"done {number}")

    def beat(self) -> None:
        """Say that the link is alive."""
        with contextlib.suppress(OSError, EOFError):
            self._say("beat")

    def end(self, number: int, grace_s: float, timeout_s: float) -> None:
        """Kill the command with all that it started; back when nothing of it is left.

        Raises LinkLostError when nobody confirms that; the warden then does it by itself. Raises SshError when
        processes withstand KILL.
        """
        gone = self._ended.setdefault(number, threading.Event())
        try:
            self._say(f"end {number} {round(grace_s * 100)}")
        except (OSError, EOFError) as exc:
            raise LinkLostError(f"the link to {self._host} was lost while a command was killed: {exc}") from exc
        if not gone.wait(timeout_s) or not self.alive:
            raise LinkLostError(
                f"{self._host} does not confirm that a command was killed; it kills it once it notices the silence"
            )
        if left := self._left.get(number):
            raise SshError(f"{self._host}: processes withstand KILL: {left}; the host may need a reboot")

    def close(self) -> None:
        """End it, and with it what still runs; back when that is done, or soon."""
        with contextlib.suppress(OSError, EOFError):
            self._channel.shutdown_write()
            self._channel.status_event.wait(_LAST_WORK_S)

    def _say(self, line: str) -> None:
        with self._lock:
            send_all(self._channel, line.encode() + b"\n")

    def _listen(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            for raw in self._lines:
                verb, number, *left = raw.decode(errors="replace").split()
                if verb == "ended":
                    self._left[int(number)] = " ".join(left)
                    self._ended.setdefault(int(number), threading.Event()).set()
        for waiting in tuple(self._ended.values()):
            waiting.set()


def _quoted(script: str) -> str:
    return script.strip().replace("'", "'\\''")
