"""Encryption, and nothing of what is encrypted: boxes for files, the key ring, the envelope."""
