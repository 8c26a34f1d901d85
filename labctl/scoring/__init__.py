"""The audio service: files that were uploaded, and jobs that score hundreds of pairs in processes of their own."""

from labctl.scoring.files import AudioFiles
from labctl.scoring.jobs import AudioJobs
from labctl.scoring.model import AudioJob, AudioPair
from labctl.scoring.pool import AudioPool

__all__ = ["AudioFiles", "AudioJob", "AudioJobs", "AudioPair", "AudioPool"]
