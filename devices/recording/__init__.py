"""What a WebDriver session leaves: a log of its commands with timings, pictures, a film strip, logs."""

from devices.recording.recorder import Command, Kept, Recorder, Recording

__all__ = ["Command", "Kept", "Recorder", "Recording"]
