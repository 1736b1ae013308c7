"""Environments: the named places that configuration is kept for. Read here, made by migrations."""
