"""Environments: name, tier and properties."""
