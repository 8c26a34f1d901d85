"""What steps of a job can do; each action is an entry point of the group `labctl.actions`."""
