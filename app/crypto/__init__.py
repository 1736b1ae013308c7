"""Cryptographic primitives on `cryptography` and `pyrage`, and the type `Secret`.

`settings/` imports this package to open sealed settings. It knows no feature and no aiohttp.
"""
