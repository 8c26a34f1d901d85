"""Puts the daemon together: store, leases, robots, sequencer; starts and stops them in order."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec

import structlog

from labctl.auth import LOCAL_ADMINISTRATOR
from labctl.auth.authority import Authority
from labctl.config import Lab
from labctl.health.service import Health
from labctl.health.steps_alone import AloneParts
from labctl.hosts import Hosts, Sessions
from labctl.leases import DEADLINE_MARGIN_S, Leases, Listeners
from labctl.presence import Presence
from labctl.registry import ActionRegistry
from labctl.robots import Fleet
from labctl.scheduler import Rules
from labctl.scoring import AudioFiles, AudioJobs, AudioPool
from labctl.sequencer import Sequencer
from labctl.store import ArtifactStore, Store, inventory, open_artifacts, open_store, running, submitting
from labctl.store.leasing import Grant
from labctl.submission import Submissions
from labctl.virtual_sound import VirtualSound
from labctl.webdriver import StepSessions, WebDriverService, webdriver_devices
from labctl.webhooks import Webhooks
from labctl.workers import worker_pool

_Told = ParamSpec("_Told")
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Daemon:
    """All parts of a running daemon. What the API does, it does through these."""

    lab: Lab
    store: Store
    artifacts: ArtifactStore
    actions: ActionRegistry
    fleet: Fleet
    hosts: Hosts
    host_sessions: Sessions
    leases: Leases
    sequencer: Sequencer
    submissions: Submissions
    audio_files: AudioFiles
    audio_jobs: AudioJobs
    authority: Authority
    webdriver: WebDriverService
    health: Health

    def cancel(self, job: str, reason: str) -> None:
        """End a job: what is queued of it at once, what is running after its teardown."""
        self.leases.change(lambda transaction: submitting.cancel(transaction, job, reason))


@contextmanager
def run_daemon(
    lab: Lab, data: Path, database: str | None = None, url: str | None = None, *, trust_loopback: bool = True
) -> Iterator[Daemon]:
    """A daemon, from entry to exit. `url`: where other daemons of the lab reach its API. `trust_loopback`: as long as
    the lab has no tokens, whoever asks is its administrator.

    Raises `labctl.store.database.StoreError` when its state cannot be used, `labctl.store.inventory.DeviceOwnedError`
    when another daemon has one of its devices, `drivers.documents.DocumentError` when its policies cannot be used,
    `labctl.auth.authority.NoTokenError` when nobody could ever get in.
    """
    with contextlib.ExitStack() as stack:
        sound = stack.enter_context(VirtualSound(lab))
        lab = sound.lab
        store = open_store(data, database)
        stack.callback(store.close)
        authority = Authority(
            store,
            policies=lab.policies,
            labels_of=lambda name: lab.devices[name].labels if name in lab.devices else None,
            trust_loopback=trust_loopback,
        )
        stack.callback(authority.close)
        hosts, host_sessions = Hosts(lab, data, store), Sessions()
        fleet = Fleet(lab, data, store, lambda name: hosts.get(name).ssh)
        presence = Presence(store, lab.lab, url, lab.devices, lab.artifacts)
        web = webdriver_devices(lab)
        presence.sign_in(set(fleet.robots) | set(hosts.hosts) | web)
        local = LOCAL_ADMINISTRATOR
        store.write(lambda transaction: inventory.add_principal(transaction, local.name, local.kind))
        scratch = data / "scratch"
        scratch.mkdir(parents=True, exist_ok=True)
        workers = worker_pool()
        stack.callback(workers.shutdown, wait=True, cancel_futures=True)
        artifacts = open_artifacts(lab.artifacts, data / "artifacts")
        audio_pool = AudioPool()
        audio_files = AudioFiles(data / "audio" / "files", store, audio_pool)
        audio_jobs = AudioJobs(data / "audio" / "reports", store, audio_files, audio_pool, lab.polqa)
        stack.callback(audio_jobs.close)
        actions = ActionRegistry()
        leases = Leases(store, Rules(lab.scheduling.devices_per_owner))
        webdriver = WebDriverService(lab, data, store, leases, artifacts=artifacts, workers=workers)
        stack.callback(webdriver.close)
        sequencer = Sequencer(
            lab,
            store,
            leases,
            artifacts=artifacts,
            actions=actions,
            bases=fleet,
            hosts=hosts,
            workers=workers,
            scratch=scratch,
            uploaded=lambda file: audio_files.path(file)[0],
            sessions=StepSessions(webdriver),
        )
        submissions = Submissions(store, leases, actions)
        alone = AloneParts(lab, actions, fleet, hosts, StepSessions(webdriver), workers, scratch)
        health = Health(alone, store, fleet, leases)

        def concerned(grant: Grant) -> bool:
            return fleet.concerned(grant) or health.concerned(grant) or not web.isdisjoint(grant.devices)

        webhooks = Webhooks(store)
        began = _in_turn(fleet.granted, health.granted)
        ended = _in_turn(fleet.ended, webdriver.lease_ended, health.ended)
        leases.listen(Listeners(began, fleet.granted, ended, concerned))
        for grant in store.write(running.held_by_people):
            fleet.granted(grant, time.monotonic() + grant.duration_s - DEADLINE_MARGIN_S)
        sequencer.recover()
        sound.on_restart = webdriver.targets.sound_is_new
        webdriver.targets.reach = lambda host, url: hosts.get(host).reach(url)
        fleet.on_change = hosts.on_change = health.changed = leases.schedule
        presence.changed = webdriver.targets.on_change = leases.schedule
        ends = (webhooks.stop, presence.stop, leases.stop, fleet.close, hosts.close, host_sessions.close)
        for end in (*ends, sequencer.close, health.close):
            stack.callback(end)  # the last first
        for begin in (presence, fleet, hosts, webdriver, leases, sequencer, webhooks, health):
            begin.start()
        leases.schedule()
        audio_jobs.resume()
        yield Daemon(
            lab,
            store,
            artifacts,
            actions,
            fleet,
            hosts,
            host_sessions,
            leases,
            sequencer,
            submissions,
            audio_files,
            audio_jobs,
            authority,
            webdriver,
            health,
        )


def _in_turn(*calls: Callable[_Told, None]) -> Callable[_Told, None]:
    """Tells all of them the same."""

    def tell(*about: _Told.args, **more: _Told.kwargs) -> None:
        for call in calls:
            call(*about, **more)

    return tell
