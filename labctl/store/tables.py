"""The tables. Times are seconds since 1970 by the database's clock; structured values are JSON."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
_Big = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only a column that is plainly INTEGER

principals = Table(
    "principals",
    metadata,
    Column("name", Text, primary_key=True),
    Column("kind", Text, nullable=False),  # person, ci, device
    Column("created_at", Double, nullable=False),
)

# The processes that form the lab; on SQLite there is one.
daemons = Table(
    "daemons",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),  # of the lab, in its lab file
    Column("url", Text),  # where other daemons reach its API
    Column("artifacts", Text),  # where its artifacts are for all daemons, if not in its own data folder alone
    Column("version", Text, nullable=False),
    Column("epoch", _Big, nullable=False),  # grows with each start of any daemon
    Column("started_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),  # gone unless it is heard of before then
)

devices = Table(
    "devices",
    metadata,
    Column("name", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("room", Text),  # the room that a lease of this device takes too
    Column("state", Text, nullable=False),  # good, suspect, quarantined, maintenance, offline, removed
    Column("state_reason", Text, nullable=False),
    Column("state_since", Double, nullable=False),
    Column("daemon", Text),  # whose device it is; rooms are everybody's
    Column("model", Text),
    Column("site", Text),
    Column("capabilities", JSON, nullable=False, server_default=text("'[]'")),  # names of drivers.protocols
    Column("facts", JSON, nullable=False, server_default=text("'{}'")),  # numbers that change: battery_ratio ...
    Column("offline", Text),  # why it does not answer, also while it is in maintenance; NULL when it does
    Column("revision", _Big, nullable=False, server_default=text("0")),  # of the lab, at its last change
    Column("made_ready", Boolean, nullable=False, server_default=text("false")),  # whether hooks follow each lease
    Column("prepared", Boolean, nullable=False, server_default=text("false")),  # whether hooks precede it
    Column("matches", JSON(none_as_null=True)),  # what WebDriver's clients may ask for; NULL of other devices
    Index(None, "revision"),
)

# Monotonic numbers that must never repeat, such as the fencing number.
counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", _Big, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("document", JSON, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("state", Text, nullable=False),  # queued, running, finished
    Column("verdict", Text),
    Column("reason", Text, nullable=False),
    Column("submitted_at", Double, nullable=False),
    Column("finished_at", Double),
    Column("parent_id", Text),  # the matrix that this is one combination of
    Column("combination", JSON(none_as_null=True)),  # its values; of a matrix itself null
    Column("rerun_of", Text),
    CheckConstraint("(state = 'finished') = (verdict IS NOT NULL)", name="verdict_when_finished"),
    Index(None, "state"),
    Index(None, "name"),
    Index(None, "parent_id"),
)

# What `Idempotency-Key` was said with which body, and the job that came of it.
submissions = Table(
    "submissions",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("digest", Text, nullable=False),  # SHA-256 of what was sent
    Column("job_id", Text, ForeignKey("jobs.id"), nullable=False),
    Column("submitted_at", Double, nullable=False),
)

# A lease begins as a request (waiting, or reserved for a time to come), and is then active until it is released or
# expires; or it is refused.
leases = Table(
    "leases",
    metadata,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),  # waiting, reserved, active, released, expired, refused
    Column("holder", Text, nullable=False),
    Column("job_id", Text, ForeignKey("jobs.id")),
    Column("require", JSON, nullable=False),  # [{"role", "device" or "kind", "labels" ...}]
    Column("duration_s", Double, nullable=False),
    Column("fencing", _Big, unique=True),
    Column("requested_at", Double, nullable=False),
    Column("granted_at", Double),
    Column("expires_at", Double),
    Column("ended_at", Double),
    Column("end_reason", Text),
    Column("priority", Integer, nullable=False, server_default=text("0")),
    Column("rooms", Boolean, nullable=False, server_default=text("true")),  # whether it takes its devices' rooms
    Column("heartbeat_s", Double),  # over when not heard of for so long, whatever its duration
    Column("limit_s", Double),  # held for so long at most; its duration unless given
    Column("expected_s", Double),  # likely held for so long
    Column("starts_at", Double),  # of a reservation
    Column("ends_at", Double),  # when its duration is over; expires_at is earlier when it needs a heartbeat
    Column("until", Double),  # it may not be renewed beyond, since others were promised its devices
    Column("revision", _Big, nullable=False, server_default=text("0")),  # of the lab, at its last change
    Index(None, "state"),
    Index(None, "revision"),
    Index(None, "job_id"),
)

lease_devices = Table(
    "lease_devices",
    metadata,
    Column("lease_id", Text, ForeignKey("leases.id"), primary_key=True),
    Column("device", Text, ForeignKey("devices.name"), primary_key=True),
    Column("role", Text),
    Column("held", Boolean, nullable=False),
    Column("preparing", Boolean, nullable=False, server_default=text("false")),  # its holder does not have it yet
    Index("one_holder_per_device", "device", unique=True, sqlite_where=text("held"), postgresql_where=text("held")),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("job_id", Text, ForeignKey("jobs.id"), nullable=False),
    Column("lease_id", Text, ForeignKey("leases.id"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("state", Text, nullable=False),  # running, finished
    Column("verdict", Text),
    Column("reason", Text, nullable=False),
    Column("cancel_asked", Boolean, nullable=False),
    Column("cancel_reason", Text),
    Column("cancel_verdict", Text),  # what the run ends as for having been cancelled: cancelled, errored
    Column("outputs", JSON(none_as_null=True)),
    Column("started_at", Double, nullable=False),
    Column("finished_at", Double),
    CheckConstraint("(state = 'finished') = (verdict IS NOT NULL)", name="verdict_when_finished"),
    Index(None, "job_id"),
    Index(None, "state"),
)

# Each lane is carried out by the daemon of its device; lanes know of each other through these rows alone.
lanes = Table(
    "lanes",
    metadata,
    Column("run_id", Text, ForeignKey("runs.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("daemon", Text, nullable=False),
    Column("state", Text, nullable=False),  # ready, running, ending (its always steps), finished
    Column("step", Text),  # the title of the one under way
    Column("done", Integer, nullable=False),  # steps that are over
    Column("total", Integer, nullable=False),
    Column("verdict", Text),  # known from "ending" on
    Column("reason", Text, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Index(None, "daemon", "state"),
)

# One row for each step that was begun or skipped; of one that was tried again, the last try.
steps = Table(
    "steps",
    metadata,
    Column("run_id", Text, ForeignKey("runs.id"), primary_key=True),
    Column("lane", Text, primary_key=True),
    Column("number", Integer, primary_key=True),  # in the lane, the always steps after the others
    Column("step_id", Text),
    Column("title", Text, nullable=False),
    Column("what", Text, nullable=False),  # the action, or the meeting
    Column("attempt", Integer, nullable=False),
    Column("verdict", Text, nullable=False),  # also "running" and "skipped"
    Column("reason", Text, nullable=False),
    Column("outputs", JSON, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("finished_at", Double),
)

# What lanes and other programs told each other in a run. A signal stays: who waits for it later finds it.
signals = Table(
    "signals",
    metadata,
    Column("number", _Big, primary_key=True, autoincrement=True),
    Column("run_id", Text, ForeignKey("runs.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),  # signal, or arrival at a barrier
    Column("sender", Text, nullable=False),  # "lane alice", or a principal
    Column("payload", JSON, nullable=False),
    Column("sent_at", Double, nullable=False),
    Index(None, "run_id", "name"),
    sqlite_autoincrement=True,
)

measurements = Table(
    "measurements",
    metadata,
    Column("id", _Big, primary_key=True, autoincrement=True),
    Column("run_id", Text, ForeignKey("runs.id"), nullable=False),
    Column("lane", Text),
    Column("number", Integer),  # of the step in the lane
    Column("attempt", Integer),
    Column("step", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("value", Double),
    Column("unit", Text, nullable=False),
    Column("low", Double),
    Column("high", Double),
    Column("verdict", Text),
    Column("taken_at", Double, nullable=False),
    Index(None, "run_id"),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("run_id", Text, ForeignKey("runs.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("size", _Big, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("location", Text, nullable=False),  # relative to the artifact store
    Column("created_at", Double, nullable=False),
    Index(None, "run_id"),
)

# Audio that people uploaded, and jobs that score it. These need no device, and so no lease and no run.
audio_files = Table(
    "audio_files",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("container", Text, nullable=False),  # WAV, FLAC, OGG
    Column("sample_rate", Integer, nullable=False),
    Column("channels", Integer, nullable=False),
    Column("frames", _Big, nullable=False),
    Column("duration_s", Double, nullable=False),
    Column("silent", Boolean, nullable=False),
    Column("size", _Big, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("location", Text, nullable=False),  # relative to the folder of audio files
    Column("created_at", Double, nullable=False),
)

audio_jobs = Table(
    "audio_jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("document", JSON, nullable=False),
    Column("state", Text, nullable=False),  # created, running, finished
    Column("verdict", Text),
    Column("reason", Text, nullable=False),
    Column("total", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    CheckConstraint("(state = 'finished') = (verdict IS NOT NULL)", name="verdict_when_finished"),
    Index(None, "state"),
)

audio_scores = Table(
    "audio_scores",
    metadata,
    Column("job_id", Text, ForeignKey("audio_jobs.id"), primary_key=True),
    Column("position", Integer, primary_key=True),  # of the pair in the job's document
    Column("verdict", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("measurements", JSON, nullable=False),
    Column("result", JSON(none_as_null=True)),
    Column("report", Boolean, nullable=False),  # whether a page was drawn
    Column("scored_at", Double, nullable=False),
)

# Who is told of events over HTTP. Events are delivered in order, each until it was taken or given up.
webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("secret", Text, nullable=False),  # signs deliveries; never shown
    Column("kinds", JSON, nullable=False),  # of events
    Column("job_id", Text),  # only events of this job
    Column("cursor", _Big, nullable=False),  # the last event that is dealt with
    Column("attempts", Integer, nullable=False),  # to deliver the next one
    Column("next_at", Double, nullable=False),
    Column("daemon", Text),  # that delivers now
    Column("claimed_until", Double, nullable=False),
    Column("delivered", _Big, nullable=False),
    Column("given_up", _Big, nullable=False),
    Column("last_error", Text),
    Column("created_at", Double, nullable=False),
)

# Append-only: one row per change of state, in the transaction that made the change.
events = Table(
    "events",
    metadata,
    Column("sequence", _Big, primary_key=True, autoincrement=True),
    Column("time", Double, nullable=False),
    Column("kind", Text, nullable=False),
    Column("device", Text),
    Column("lease_id", Text),
    Column("job_id", Text),
    Column("run_id", Text),
    Column("data", JSON, nullable=False),
    Index(None, "run_id", "sequence"),
    sqlite_autoincrement=True,
)

# How often a device did not do for causes on the lab's side, in a row.
device_health = Table(
    "device_health",
    metadata,
    Column("device", Text, ForeignKey("devices.name"), primary_key=True),
    Column("quarantine_after", Integer, nullable=False),  # so many lab errors, or failed checks, in a row
    Column("lab_errors", Integer, nullable=False),
    Column("failed_checks", Integer, nullable=False),
    Column("checked_at", Double),
)

# The latest result of each check of a device.
device_checks = Table(
    "device_checks",
    metadata,
    Column("device", Text, ForeignKey("devices.name"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("well", Boolean, nullable=False),
    Column("value", Double),
    Column("unit", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("checked_at", Double, nullable=False),
)

# One row each time that a device was quarantined; the open one, if there is one, tells how far it is on its way back.
quarantines = Table(
    "quarantines",
    metadata,
    Column("id", Text, primary_key=True),
    Column("device", Text, ForeignKey("devices.name"), nullable=False),
    Column("cause", Text, nullable=False),  # aborted, lab_errors, checks, person, hook
    Column("reason", Text, nullable=False),
    Column("since", Double, nullable=False),
    Column("preflight_at", Double),
    Column("preflight_passed", Boolean),
    Column("preflight_detail", Text),
    Column("ended_at", Double),
    Column("ended_by", Text),
    Column("end_reason", Text),
    Index(
        "one_quarantine_per_device",
        "device",
        unique=True,
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
)
