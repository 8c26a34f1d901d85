"""Brings a database to the tables of this version."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
import structlog
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

log = structlog.get_logger(__name__)


def migrate(connection: sa.Connection) -> None:
    """Run every migration that this database has not seen, in the transaction of `connection`.

    A database that a newer daemon has migrated is left as it is: migrations only add what older daemons do not mind.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    present = MigrationContext.configure(connection).get_current_revision()
    if present is not None and present not in known:
        log.warning("the database was migrated by a newer version of labctl", revision=present)
        return
    command.upgrade(config, "head")
