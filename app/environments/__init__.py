"""Environments: the named places that configuration is kept for, and what each says of itself."""
