"""How devices are: their latest checks, lab errors in a row, and quarantines with the way back."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("devices", sa.Column("made_ready", sa.Boolean(), nullable=False, server_default=sa.text("false")))
    op.create_table(
        "device_health",
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("quarantine_after", sa.Integer(), nullable=False),
        sa.Column("lab_errors", sa.Integer(), nullable=False),
        sa.Column("failed_checks", sa.Integer(), nullable=False),
        sa.Column("checked_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["device"], ["devices.name"], name=op.f("fk_device_health_device_devices")),
        sa.PrimaryKeyConstraint("device", name=op.f("pk_device_health")),
    )
    op.create_table(
        "device_checks",
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("well", sa.Boolean(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("checked_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.name"], name=op.f("fk_device_checks_device_devices")),
        sa.PrimaryKeyConstraint("device", "name", name=op.f("pk_device_checks")),
    )
    op.create_table(
        "quarantines",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("preflight_at", sa.Double(), nullable=True),
        sa.Column("preflight_passed", sa.Boolean(), nullable=True),
        sa.Column("preflight_detail", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("end_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["device"], ["devices.name"], name=op.f("fk_quarantines_device_devices")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantines")),
    )
    op.create_index(
        "one_quarantine_per_device",
        "quarantines",
        ["device"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_table("quarantines")
    op.drop_table("device_checks")
    op.drop_table("device_health")
    with op.batch_alter_table("devices") as devices:
        devices.drop_column("made_ready")
