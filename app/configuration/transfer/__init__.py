"""Export and import of environments as files. An import is one change set."""
