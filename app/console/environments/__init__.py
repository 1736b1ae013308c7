"""Environments: the list, a new one, and the properties of one."""
