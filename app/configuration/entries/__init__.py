"""Configurations: settings, flags and segments, one key of one environment at a time."""
