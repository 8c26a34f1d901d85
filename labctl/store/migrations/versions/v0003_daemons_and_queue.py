"""Several daemons; what the scheduler knows of devices and leases."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "daemons",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("artifacts", sa.Text(), nullable=True),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("epoch", _BIG, nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_daemons")),
    )
    for column in (
        sa.Column("daemon", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("site", sa.Text(), nullable=True),
        sa.Column("capabilities", sa.JSON(), nullable=False, server_default=sa.text("'[]'")),
        sa.Column("facts", sa.JSON(), nullable=False, server_default=sa.text("'{}'")),
        sa.Column("offline", sa.Text(), nullable=True),
        sa.Column("revision", _BIG, nullable=False, server_default=sa.text("0")),
    ):
        op.add_column("devices", column)
    for column in (
        sa.Column("priority", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("rooms", sa.Boolean(), nullable=False, server_default=sa.text("true")),
        sa.Column("heartbeat_s", sa.Double(), nullable=True),
        sa.Column("limit_s", sa.Double(), nullable=True),
        sa.Column("expected_s", sa.Double(), nullable=True),
        sa.Column("starts_at", sa.Double(), nullable=True),
        sa.Column("ends_at", sa.Double(), nullable=True),
        sa.Column("until", sa.Double(), nullable=True),
        sa.Column("revision", _BIG, nullable=False, server_default=sa.text("0")),
    ):
        op.add_column("leases", column)
    for table, name in (("devices", "revision"), ("leases", "revision"), ("leases", "job_id"), ("jobs", "name")):
        op.create_index(op.f(f"ix_{table}_{name}"), table, [name], unique=False)
