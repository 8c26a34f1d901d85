"""What a job file says."""

from labctl.jobs.model import Job, Lane, Role, Step, parse_job

__all__ = ["Job", "Lane", "Role", "Step", "parse_job"]
