"""The lab's state: tables, migrations, transactions, events and artifacts."""

from labctl.store.artifacts import ArtifactStore, open_artifacts
from labctl.store.database import Store, open_store
from labctl.store.identifiers import new_id
from labctl.store.transaction import Transaction

__all__ = ["ArtifactStore", "Store", "Transaction", "new_id", "open_artifacts", "open_store"]
