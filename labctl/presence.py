"""Keeps this daemon among the living of its lab, and notes which others are gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog
from sqlalchemy.exc import SQLAlchemyError

from labctl.config import DeviceConfig
from labctl.store import Store, Transaction, daemons, inventory

log = structlog.get_logger(__name__)


@dataclass
class Presence:
    """Signs in, says every few seconds that it lives, signs off. `url`: where other daemons reach this one's API.

    `superseded` is called when another process signs in as this daemon, `changed` when devices came or went.
    """

    store: Store
    name: str
    url: str | None
    devices: Mapping[str, DeviceConfig]
    artifacts: str | None = None
    changed: Callable[[], None] = lambda: None
    superseded: Callable[[], None] = lambda: None
    epoch: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def sign_in(self, starting: set[str]) -> None:
        """Take the devices; those in `starting` are offline at first. Raises `inventory.DeviceOwnedError`
        or `daemons.ArtifactsError`.
        """

        def work(transaction: Transaction) -> int:
            inventory.register(transaction, self.devices, starting)
            return daemons.sign_in(transaction, self.name, self.url, self.artifacts)

        self.epoch = self.store.write(work)

    def start(self) -> None:
        """Begin to say so."""
        self._thread = threading.Thread(target=self._beat, name="presence", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Be gone, in order."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

        def work(transaction: Transaction) -> None:
            inventory.go_offline(transaction, transaction.daemon, "its daemon has ended")
            daemons.sign_off(transaction, self.epoch)

        try:
            self.store.write(work)
        except SQLAlchemyError as exc:
            log.warning("could not sign off; the lab notices by itself", error=str(exc).strip())

    def _beat(self) -> None:
        while not self._over.wait(daemons.HEARTBEAT_S):
            try:
                if self.store.write(self._look):
                    self.changed()
            except daemons.SupersededError as exc:
                log.error("this daemon is not of the lab any more", reason=str(exc))
                self.superseded()
                return
            except SQLAlchemyError as exc:
                log.warning("could not tell the lab that this daemon lives", error=str(exc).strip())

    def _look(self, transaction: Transaction) -> bool:
        """Whether devices came or went."""
        if not daemons.beat(transaction, self.epoch):
            log.warning("the lab had taken this daemon for gone; its devices are back")
            inventory.come_back(transaction)
            return True
        return inventory.note_gone_daemons(transaction)
