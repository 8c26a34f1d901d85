"""The tables of tokens, policies and the audit log."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, Double, ForeignKey, Index, Integer, Table, Text

from labctl.store.tables import metadata

tokens = Table(
    "tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("principal", Text, ForeignKey("principals.name"), nullable=False),
    Column("administrator", Boolean, nullable=False),
    Column("hash", Text, nullable=False),  # see labctl.auth.tokens
    Column("note", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("duration_s", Double),  # what a rotation gives the next one
    Column("expires_at", Double),
    Column("last_used_at", Double),
    Column("revoked_at", Double),
    Column("replaced_by", Text),
    Index(None, "principal"),
)

# Every version of the policies that a daemon used, so that the statement an old decision names can be read.
policies = Table(
    "policies",
    metadata,
    Column("version", Text, primary_key=True),
    Column("loaded_at", Double, nullable=False),
    Column("sources", JSON, nullable=False),  # [{"name", "text"}]
)

# Append-only, and held so by triggers. `hash` chains each row to the one before.
audit = Table(
    "audit",
    metadata,
    Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("time", Double, nullable=False),
    Column("principal", Text, nullable=False),  # kind:name
    Column("token", Text),  # the token's id
    Column("action", Text, nullable=False),
    Column("resource", Text, nullable=False),  # kind:name
    Column("allowed", Boolean, nullable=False),
    Column("statement", Text, nullable=False),
    Column("policies", Text, nullable=False),  # the version
    Column("request", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Index(None, "time"),
    Index(None, "principal", "sequence"),
)
