"""What came of jobs, in the forms that other programs read."""
