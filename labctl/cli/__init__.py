"""The command line. Whatever takes long to import is imported inside the command that needs it."""
