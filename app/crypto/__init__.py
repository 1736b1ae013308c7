"""Encryption, by the libraries `cryptography` and `pyrage` alone, and the type of what is secret.

Boxes for files, the envelope and the key ring for secrets, sealed settings. Below the settings,
which are opened with it. Knows no feature and no aiohttp.
"""
