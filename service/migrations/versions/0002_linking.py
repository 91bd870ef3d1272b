"""Link sessions, refreshing, the audit log, domain events."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    with op.batch_alter_table("connections") as table:
        table.add_column(sa.Column("problem", sa.String(40)))
        table.add_column(sa.Column("profile", sa.String(16)))
        table.add_column(sa.Column("ca_certificate", sa.Text()))
    op.execute("UPDATE connections SET profile = 'full'")
    op.execute("UPDATE connections SET problem = 'unlinked' WHERE status = 'unlinked'")
    with op.batch_alter_table("connections") as table:
        table.alter_column("profile", existing_type=sa.String(16), nullable=False)
    op.create_index("ix_connections_installation_id", "connections", ["installation_id"])
    with op.batch_alter_table("credentials") as table:
        table.add_column(sa.Column("client_id", sa.String(200)))
        table.add_column(sa.Column("refresh_key_id", sa.String(64)))
        table.add_column(sa.Column("refresh_token", sa.LargeBinary()))
        table.add_column(sa.Column("refresh_after", _TIME))
        table.add_column(sa.Column("failures", sa.Integer()))
    op.execute("UPDATE credentials SET failures = 0, refresh_after = updated_at")  # each is looked at soon
    with op.batch_alter_table("credentials") as table:
        table.alter_column("failures", existing_type=sa.Integer(), nullable=False)
    op.create_index("ix_credentials_refresh_key_id", "credentials", ["refresh_key_id"])
    op.create_index("ix_credentials_refresh_after", "credentials", ["refresh_after"])
    op.create_table(
        "refresh_intents",
        sa.Column("connection_id", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("holder", sa.String(64), nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("lease_until", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("connection_id", name="pk_refresh_intents"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "connection_id"],
            ["connections.tenant_id", "connections.id"],
            name="fk_refresh_intents_tenant_id_connection_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_refresh_intents_lease_until", "refresh_intents", ["lease_until"])
    _create_link_sessions()
    _create_journal()


def _create_link_sessions() -> None:
    op.create_table(
        "link_sessions",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("browser_hash", sa.LargeBinary()),
        sa.Column("external_id", sa.String(200)),
        sa.Column("customer_id", sa.String(200)),
        sa.Column("name", sa.String(200)),
        sa.Column("redirect_uri", sa.String(2000)),
        sa.Column("allowed_origins", sa.JSON(), nullable=False),
        sa.Column("methods", sa.JSON(), nullable=False),
        sa.Column("profile", sa.String(16), nullable=False),
        sa.Column("origin", sa.String(500)),
        sa.Column("organization", sa.String(200)),
        sa.Column("projects", sa.JSON()),
        sa.Column("is_narrowed", sa.Boolean(), nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("problem", sa.String(64)),
        sa.Column("pending_key_id", sa.String(64)),
        sa.Column("pending", sa.LargeBinary()),
        sa.Column("connection_id", sa.String(64)),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("completed_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_link_sessions"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_link_sessions_tenant_id", ondelete="CASCADE"),
        sa.UniqueConstraint("token_hash", name="uq_link_sessions_token_hash"),
        sa.UniqueConstraint("tenant_id", "id", name="uq_link_sessions_tenant_id_id"),
    )
    op.create_index("ix_link_sessions_tenant_id_external_id", "link_sessions", ["tenant_id", "external_id"])
    op.create_index("ix_link_sessions_expires_at", "link_sessions", ["expires_at"])
    op.create_index("ix_link_sessions_pending_key_id", "link_sessions", ["pending_key_id"])
    op.create_table(
        "link_attempts",
        sa.Column("state_hash", sa.LargeBinary(), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("session_id", sa.String(64), nullable=False),
        sa.Column("method", sa.String(16), nullable=False),
        sa.Column("client_id", sa.String(200), nullable=False),
        sa.Column("origin", sa.String(500), nullable=False),
        sa.Column("redirect_uri", sa.String(2000), nullable=False),
        sa.Column("browser_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("used_at", _TIME),
        sa.PrimaryKeyConstraint("state_hash", name="pk_link_attempts"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "session_id"],
            ["link_sessions.tenant_id", "link_sessions.id"],
            name="fk_link_attempts_tenant_id_session_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_link_attempts_tenant_id_session_id", "link_attempts", ["tenant_id", "session_id"])
    op.create_index("ix_link_attempts_expires_at", "link_attempts", ["expires_at"])


def _create_journal() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("connection_id", sa.String(64), nullable=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_events_tenant_id", ondelete="CASCADE"),
    )
    op.create_index("ix_events_tenant_id_id", "events", ["tenant_id", "id"])
    op.create_index("ix_events_tenant_id_connection_id", "events", ["tenant_id", "connection_id"])
    op.create_table(
        "audit_log",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("connection_id", sa.String(64)),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_log"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_audit_log_tenant_id", ondelete="CASCADE"),
    )
    op.create_index("ix_audit_log_tenant_id_id", "audit_log", ["tenant_id", "id"])
    op.create_index("ix_audit_log_tenant_id_connection_id", "audit_log", ["tenant_id", "connection_id"])


def downgrade() -> None:
    for name in ("audit_log", "events", "link_attempts", "link_sessions", "refresh_intents"):
        op.drop_table(name)
    op.drop_index("ix_credentials_refresh_after", "credentials")
    op.drop_index("ix_credentials_refresh_key_id", "credentials")
    with op.batch_alter_table("credentials") as table:
        for column in ("client_id", "refresh_key_id", "refresh_token", "refresh_after", "failures"):
            table.drop_column(column)
    op.drop_index("ix_connections_installation_id", "connections")
    with op.batch_alter_table("connections") as table:
        for column in ("problem", "profile", "ca_certificate"):
            table.drop_column(column)
