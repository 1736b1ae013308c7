"""Flagstone: configuration and feature flags on nothing but PostgreSQL.

Read in this order: `server.py` shows the whole, `routes.py` every URL, `assembly.py` what there is,
`lifespan.py` what opens and closes. Then a noun at a time: `configurations/`, `tokens/`,
`changes/`, `snapshots/`, `environments/`, `access/`, with `transfer/`, `flags/`, `ofrep/`,
`health/` and `metrics/` as other ways of looking at the same, and `vault/` for the keys of secrets.
`http/`, `database/` and `crypto/` are toolboxes that know no feature; `evaluation/` is pure, from a
definition and a context to an outcome; `json_schema/` checks values in processes with limits.
Imports go down that list, never up.

The words, each with one meaning from URL to column:

environment    a named place that configuration is kept for; of one of four tiers
configuration  one entry of an environment: a key, a kind, a value, a version; an entry for short
setting, flag, segment, secret
               the four kinds of a configuration
properties     what an environment says of itself: the metadata of its flag set, the generation of
               bucketing, whether it is protected; they have a version of their own
guard          a context that a flag carries, with the variant that it has to get
variant        one of the values that a flag may have, by name
checker        a process that checks values against JSON Schemas, within limits of time and memory
version        counts the changes of one key, and goes on when the key is deleted and made again;
               of an environment, those of its properties
revision       counts the change sets of one environment, without gaps
change set     what one transaction did to one environment: who, why, and each key before and after;
               its properties too, where they changed
snapshot       everything that one environment needs to answer, at one revision
outcome        what a flag is for one context: value, variant, reason; or why there is none
data key       seals the secrets of one environment; stored wrapped by a key-encryption key
key ring       the key-encryption keys, one of them active; never in the database
vault          a process's unwrapped data keys: it seals and opens values
reveal         to give a secret in clear; everywhere else it is masked
shred          to destroy an environment's data keys, and so its secrets
token          what a caller shows; it has scopes and environments
scope          what a token may do: evaluate, read, write, reveal, admin
grant          the scopes, environments and expiry of a token: all that it may, until when
ticket         what a browser shows, in a URL, to open the one event stream that it was made for
actor          who stands behind a change: a token, an operator at the command line, the system
access         what somebody did or was refused, as one row of the access log tells it
record         of schema changes: what the server itself writes down when a definition changes
fact           one line of what the catalog says of the schema; their hash is its fingerprint
drift          the facts that are not what the last migration left behind
epoch          names one life of an environment's revisions; a restored backup begins a new one
sealed         encrypted: a setting for the hosts that may open it, a secret for its one place
recipient, identity
               the public and the private half of a host's key for sealed settings
heartbeat      the row that an instance writes to prove that it can
"""

VERSION = "0.1.0"
