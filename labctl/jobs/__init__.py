"""What a job file says."""

from labctl.jobs.model import Job, Lane, Role, Step
from labctl.jobs.parsing import ParsedFile, ParsedJob, parse_job_file

__all__ = ["Job", "Lane", "ParsedFile", "ParsedJob", "Role", "Step", "parse_job_file"]
