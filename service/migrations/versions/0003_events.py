"""Events in order with their deliveries, endpoints, webhook receivers, repair."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _extend_events()
    _create_delivery()
    _create_receivers()
    _create_repair()


def _extend_events() -> None:
    with op.batch_alter_table("events") as table:
        table.add_column(sa.Column("position", sa.BigInteger()))
        table.add_column(sa.Column("sequence", sa.BigInteger()))
        table.add_column(sa.Column("is_synthetic", sa.Boolean()))
        table.add_column(sa.Column("repeat_of", sa.String(64)))
        table.add_column(sa.Column("issue_id", sa.String(64)))
        table.add_column(sa.Column("project_id", sa.String(64)))
        table.add_column(sa.Column("project_slug", sa.String(200)))
        table.add_column(sa.Column("environment", sa.String(200)))
        table.add_column(sa.Column("level", sa.String(64)))
        table.add_column(sa.Column("headers", sa.JSON()))
        table.add_column(sa.Column("body", sa.LargeBinary()))
        table.add_column(sa.Column("body_hash", sa.LargeBinary()))
    op.execute("UPDATE events SET is_synthetic = false, headers = '{}'")
    for column, of in (("position", "tenant_id"), ("sequence", "tenant_id, connection_id")):
        op.execute(
            f"UPDATE events SET {column} = numbered.number FROM "  # noqa: S608 - the names above
            f"(SELECT id, row_number() OVER (PARTITION BY {of} ORDER BY id) AS number FROM events) AS numbered "
            "WHERE numbered.id = events.id"
        )
    op.drop_index("ix_events_tenant_id_id", "events")
    op.drop_index("ix_events_tenant_id_connection_id", "events")
    with op.batch_alter_table("events") as table:
        table.alter_column("position", existing_type=sa.BigInteger(), nullable=False)
        table.alter_column("is_synthetic", existing_type=sa.Boolean(), nullable=False)
        table.alter_column("headers", existing_type=sa.JSON(), nullable=False)
        table.alter_column("connection_id", existing_type=sa.String(64), nullable=True)
        table.alter_column("type", existing_type=sa.String(64), type_=sa.String(200), existing_nullable=False)
        table.create_unique_constraint("uq_events_tenant_id_position", ["tenant_id", "position"])
    op.create_index("ix_events_tenant_id_connection_id_position", "events", ["tenant_id", "connection_id", "position"])
    op.create_index(
        "ix_events_tenant_id_connection_id_body_hash", "events", ["tenant_id", "connection_id", "body_hash"]
    )
    op.create_index("ix_events_tenant_id_created_at", "events", ["tenant_id", "created_at"])
    op.create_index("ix_events_created_at", "events", ["created_at"])
    op.create_table(
        "event_counters",
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("connection_id", sa.String(64), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "connection_id", name="pk_event_counters"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_event_counters_tenant_id", ondelete="CASCADE"),
    )
    op.execute(
        "INSERT INTO event_counters (tenant_id, connection_id, last) "
        "SELECT tenant_id, '', max(position) FROM events GROUP BY tenant_id"
    )
    op.execute(
        "INSERT INTO event_counters (tenant_id, connection_id, last) "
        "SELECT tenant_id, connection_id, max(sequence) FROM events GROUP BY tenant_id, connection_id"
    )


def _create_delivery() -> None:
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("url", sa.String(2000), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("disabled_reason", sa.String(64)),
        sa.Column("payload", sa.String(16), nullable=False),
        sa.Column("types", sa.JSON()),
        sa.Column("connection_ids", sa.JSON()),
        sa.Column("projects", sa.JSON()),
        sa.Column("environments", sa.JSON()),
        sa.Column("levels", sa.JSON()),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("previous_key_id", sa.String(64)),
        sa.Column("previous_secret", sa.LargeBinary()),
        sa.Column("previous_until", _TIME),
        sa.Column("failing_since", _TIME),
        sa.Column("problem", sa.String(64)),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_endpoints"),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_webhook_endpoints_tenant_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_webhook_endpoints_tenant_id_id", "webhook_endpoints", ["tenant_id", "id"])
    op.create_index("ix_webhook_endpoints_key_id", "webhook_endpoints", ["key_id"])
    op.create_index("ix_webhook_endpoints_previous_key_id", "webhook_endpoints", ["previous_key_id"])
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("endpoint_id", sa.String(64), nullable=False),
        sa.Column("event_id", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", _TIME),
        sa.Column("lease_until", _TIME),
        sa.Column("replay_of", sa.String(64)),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_deliveries"),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_webhook_deliveries_tenant_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["endpoint_id"], ["webhook_endpoints.id"], name="fk_webhook_deliveries_endpoint_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name="fk_webhook_deliveries_event_id", ondelete="CASCADE"),
    )
    for columns in (["endpoint_id", "id"], ["event_id"]):
        op.create_index(f"ix_webhook_deliveries_{'_'.join(columns)}", "webhook_deliveries", columns)
    for status, column in (("pending", "next_at"), ("dead", "id")):  # few rows have it, and are looked for all the time
        only = sa.text(f"status = '{status}'")
        op.create_index(
            f"ix_webhook_deliveries_{status}",
            "webhook_deliveries",
            ["endpoint_id", column],
            sqlite_where=only,
            postgresql_where=only,
        )
    op.create_table(
        "webhook_attempts",
        sa.Column("delivery_id", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("milliseconds", sa.Integer(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("error", sa.String(64)),
        sa.Column("answer", sa.Text()),
        sa.PrimaryKeyConstraint("delivery_id", "number", name="pk_webhook_attempts"),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["webhook_deliveries.id"], name="fk_webhook_attempts_delivery_id", ondelete="CASCADE"
        ),
    )


def _create_receivers() -> None:
    op.create_table(
        "webhook_receivers",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("connection_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("key_id", sa.String(64)),
        sa.Column("secret", sa.LargeBinary()),
        sa.Column("previous_key_id", sa.String(64)),
        sa.Column("previous_secret", sa.LargeBinary()),
        sa.Column("previous_until", _TIME),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("last_used_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_receivers"),
        _belongs_to_connection("webhook_receivers"),
    )
    for columns in (["tenant_id", "connection_id"], ["key_id"], ["previous_key_id"]):
        op.create_index(f"ix_webhook_receivers_{'_'.join(columns)}", "webhook_receivers", columns)
    op.create_table(
        "webhook_quarantine",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(64)),
        sa.Column("connection_id", sa.String(64)),
        sa.Column("receiver_id", sa.String(64)),
        sa.Column("client_id", sa.String(200)),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("installation_id", sa.String(64)),
        sa.Column("type", sa.String(200), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_quarantine"),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_webhook_quarantine_tenant_id", ondelete="CASCADE"
        ),
    )
    for columns in (["tenant_id", "id"], ["client_id", "installation_id", "id"], ["receiver_id", "id"], ["created_at"]):
        op.create_index(f"ix_webhook_quarantine_{'_'.join(columns)}", "webhook_quarantine", columns)


def _create_repair() -> None:
    op.create_table(
        "repairs",
        sa.Column("connection_id", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("next_at", _TIME, nullable=False),
        sa.Column("lease_until", _TIME),
        sa.Column("claim", sa.Integer(), nullable=False),
        sa.Column("polled_at", _TIME),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("heard_at", _TIME),
        sa.Column("missed", sa.Integer(), nullable=False),
        sa.Column("silent_since", _TIME),
        sa.Column("steady_since", _TIME),
        sa.PrimaryKeyConstraint("connection_id", name="pk_repairs"),
        _belongs_to_connection("repairs"),
    )
    for column in ("next_at", "lease_until"):
        op.create_index(f"ix_repairs_{column}", "repairs", [column])
    op.create_table(
        "issue_snapshots",
        sa.Column("connection_id", sa.String(64), nullable=False),
        sa.Column("issue_id", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(64), nullable=False),
        sa.Column("status", sa.String(32)),
        sa.Column("substatus", sa.String(64)),
        sa.Column("assignee", sa.String(80)),
        sa.Column("last_seen", _TIME, nullable=False),
        sa.Column("differs_since", _TIME),
        sa.PrimaryKeyConstraint("connection_id", "issue_id", name="pk_issue_snapshots"),
        _belongs_to_connection("issue_snapshots"),
    )
    op.create_index(
        "ix_issue_snapshots_tenant_id_connection_id_last_seen",
        "issue_snapshots",
        ["tenant_id", "connection_id", "last_seen"],
    )


def _belongs_to_connection(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", "connection_id"],
        ["connections.tenant_id", "connections.id"],
        name=f"fk_{table}_tenant_id_connection_id",
        ondelete="CASCADE",
    )


def downgrade() -> None:
    for name in (
        "issue_snapshots",
        "repairs",
        "webhook_quarantine",
        "webhook_receivers",
        "webhook_attempts",
        "webhook_deliveries",
        "webhook_endpoints",
        "event_counters",
    ):
        op.drop_table(name)
    op.execute("DELETE FROM events WHERE connection_id IS NULL OR body IS NOT NULL")
    for name in (
        "created_at",
        "tenant_id_created_at",
        "tenant_id_connection_id_body_hash",
        "tenant_id_connection_id_position",
    ):
        op.drop_index(f"ix_events_{name}", "events")
    with op.batch_alter_table("events") as table:
        table.drop_constraint("uq_events_tenant_id_position", type_="unique")
        for column in (
            "position",
            "sequence",
            "is_synthetic",
            "repeat_of",
            "issue_id",
            "project_id",
            "project_slug",
            "environment",
            "level",
            "headers",
            "body",
            "body_hash",
        ):
            table.drop_column(column)
        table.alter_column("connection_id", existing_type=sa.String(64), nullable=False)
        table.alter_column("type", existing_type=sa.String(200), type_=sa.String(64), existing_nullable=False)
    op.create_index("ix_events_tenant_id_id", "events", ["tenant_id", "id"])
    op.create_index("ix_events_tenant_id_connection_id", "events", ["tenant_id", "connection_id"])
