"""Encrypt secrets at rest with one data key per environment, wrapped by key-encryption keys."""
