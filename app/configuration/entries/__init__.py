"""Configurations: settings, flags, segments and secrets, one key at a time."""
