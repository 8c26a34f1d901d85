"""Carries out jobs whose lease was granted: lanes side by side, teardown always, exactly one verdict."""

from labctl.sequencer.run import RUN_LEASE_S
from labctl.sequencer.service import Sequencer

__all__ = ["RUN_LEASE_S", "Sequencer"]
