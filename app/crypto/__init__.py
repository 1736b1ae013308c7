"""Encryption, by the libraries `cryptography` and `pyrage` alone, and the type of what is secret.

Below the settings, which are opened with it. Knows no feature and no aiohttp.
"""
