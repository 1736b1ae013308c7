"""Sign-in of people with an OpenID Connect provider (OpenID Connect Core 1.0).

The service is a confidential or public client of the authorization code flow with PKCE. It trusts
nothing that a browser brings back before the ID token is verified. Without the provider the service
starts and serves, and open sessions stay valid.

provider.py       the component: the discovery document and the keys in memory, with health
discovery.py      reads the discovery document
signatures.py     verifies signatures with the provider's keys; the only user of joserfc
id_tokens.py      the checks of an ID token
claims.py         reads the subject, the name and the groups of verified claims
attempts.py       a sign-in on its way to the provider and back, sealed in a cookie
flow.py           begin and finish a sign-in
stored_tokens.py  the provider's tokens of a session, sealed in the database
refresh.py        reads the claims of each session again
logout.py         sign-out at the provider, and back-channel logout
client.py         HTTP calls, with limits
keys.py           the key of the sign-in on the application
"""
