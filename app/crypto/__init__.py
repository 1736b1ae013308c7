"""Encryption, by the library `cryptography` alone. Knows no feature and no aiohttp."""
