"""Transfer: an environment as a file, out and in again; what differs becomes one change set."""
