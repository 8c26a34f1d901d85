"""Which devices are prepared before a lease is its holder's, and which of a lease are being prepared."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("devices", sa.Column("prepared", sa.Boolean(), nullable=False, server_default=sa.text("false")))
    op.add_column(
        "lease_devices", sa.Column("preparing", sa.Boolean(), nullable=False, server_default=sa.text("false"))
    )


def downgrade() -> None:
    with op.batch_alter_table("lease_devices") as lease_devices:
        lease_devices.drop_column("preparing")
    with op.batch_alter_table("devices") as devices:
        devices.drop_column("prepared")
