"""Flagstone: configuration and feature flags on nothing but PostgreSQL.

The folders. Imports go down this list, never up; `pyproject.toml` holds it as a contract.

cli/            the commands of `python -m app`
scripts/        async scripts that reuse the pool, and how to write one
server/         start here: `application.py` builds the service, `routes.py` has every URL,
                `lifespan.py` what opens and closes, `workers.py` several processes on one port
health/         the heartbeat, the probes, the report
operations/     backups, metrics, the doctor
flags/          explanation and usage of flags; `ofrep/` evaluates them for clients
audit/          proof of the history: its chain and signed heads
configuration/  the versioned store: `entries/`, `changes/`, `snapshots/`, `transfer/` (files in and
                out), `json_schema/` (values checked in processes with limits)
secrets/        the key ring, data keys, sealing
access/         tokens, the guard before each handler, the rate limit, the access log
schema/         who changed the database schema, and whether it is as migrated
environments/   name, tier and properties of an environment
http/           decoding, problems, idempotency, OpenAPI; knows no feature
database/       the pool (`client/`), `polling.py`, `migrations/`, `roles/`, `catalog/`, `embedded/`
evaluation/     pure: from a definition and a context to an outcome
settings/       the environment variables, read once
crypto/         primitives

Beside them stand `tasks.py`, `memory.py`, `threads.py`, `log.py`, `private_files.py`, `names.py`
and `errors.py`, which every folder may use.

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
