"""A change set of the history as texts to copy: a curl command, and a command."""
