"""Access: who may call, what they may do, and the log of what they did.

`guard.py` runs before every handler. It authenticates with the `Token` of `models.py`, which
`credentials.py` holds in memory. `directory.py` reads them from the database, and `last_used.py`
writes when tokens and sessions were used.
`tokens.py` creates, rotates and revokes tokens; `token_views.py` has the bodies of their requests
and responses. `sessions/` has the people who are signed in to the console. `oidc/` signs them in
with a provider.
`proxy_identity.py` reads the person whom an identity-aware proxy names.
"""
