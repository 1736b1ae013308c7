"""Flagstone: a service for configuration and feature flags that needs only PostgreSQL.

Folders import only from folders below them; `pyproject.toml` has the contract.

cli/            the commands of `python -m app`
scripts/        async scripts that reuse the pool, and how to write one
server/         start here: `application.py` builds the service, `routes.py` lists the URLs,
                `components.py` lists the running parts, `supervisor.py` runs several processes,
                `api/` has the texts and examples of the API's documentation
console/        the web pages, which use the services of the folders below
relay/          instances without a database: the feed of an upstream, and who follows it
health/         heartbeat, probes, report
operations/     backups, metrics, the doctor
flags/          explanation, preview and usage of flags; `ofrep/` evaluates them for clients,
                `flagd_sync/` gives them to flagd's providers, `change_words/` says changes in
                plain English
audit/          proof of the history: hash chain and signed heads
configuration/  the versioned store: `entries/`, `changes/`, `proposals/`, `snapshots/`, `transfer/`
                (import and export), `json_schema/` (validation in processes with limits)
secrets/        key ring, data keys, sealing
access/         tokens, sessions, sign-in with a provider, authorization of requests, access log
schema/         drift of the database schema, and who changed it
environments/   name, tier and properties of an environment
http/           decoding, problems, idempotency, OpenAPI; knows no feature
database/       the pool and the choice of the primary (`client/`), `polling.py`, `migrations/`,
                `roles/`, `catalog/`, `embedded/`
evaluation/     evaluation of flags, without I/O
settings/       the environment variables, read once
crypto/         cryptographic primitives

Most folders use the modules beside them: `components.py`, `tasks.py`, `memory.py`,
`threads.py`, `log.py`, `private_files.py`, `names.py`, `program.py` and `errors.py`. `install.sh`
installs the packages for `make`.

Each word has one meaning, from URL to column:

environment    a named set of configuration, in one of four tiers
entry, configuration
               one key of an environment, with its kind, value and version
setting, flag, segment, secret
               the four kinds of an entry
properties     the metadata, bucketing generation and protection of an environment
guard          a context in a flag's definition, with the variant that it must get
variant        a named value of a flag
plan           steps in a flag's definition, each with the instant at which it begins
list           a segment with up to a million values in rows of their own; its entry has the digest
state of a list
               the values of a list at one time; a store has the successive states of a list
version        the number of changes of one key; it continues when a deleted key is created again
revision       the number of change sets of one environment, without gaps
proposal       a change set that waits for approval, with the versions that its author saw
approval       the consent of another person to one version of a proposal
change set     the changes that one transaction made to one environment
epoch          an id for the revisions of an environment; restoring a backup starts a new epoch
snapshot       all entries of an environment at one revision, in memory
draft          new contents of entries that are not stored: in a preview, or in an editor
outcome        the result of evaluating a flag: value, variant and reason, or an error
key ring       the key-encryption keys; one is active; never in the database
data key       the key that seals an environment's secrets; stored wrapped by a key-encryption key
vault          the part of a process that seals and opens secrets
sealed         encrypted: a secret for one entry and version, a setting for some hosts
recipient, identity
               the public and the private key of a host, for sealed settings and backups
reveal         to return a secret in clear; otherwise it is masked
shred          to destroy an environment's data keys and so its secrets
relay          an instance without a database, which follows another one: its upstream
feed           what an upstream sends to relays: positions, entries and tokens
position       epoch, revision and digest of a snapshot
token          the credential of a caller
scope          what a caller may do: evaluate, read, write, propose, approve, reveal, admin, relay,
               publish
grant          scopes in environments, for the keys below prefixes: a token has one, and a role
               granted to a person or group is one
person         who signs in with a provider: an issuer and a subject, with groups
role           a named set of scopes
project        a key prefix with a group that owns it
session        a person who is signed in to the console; ends with its token
principal      who a session belongs to: an actor, a display name and a grant
provider       the OpenID Connect provider that signs people in; its issuer names it
claims         what the provider says of a person, in a signed ID token or at an endpoint
attempt        a sign-in on its way to the provider and back
sign-in code   the credential in the URL of a one-time link to the console
ticket         the credential in the URL of one event stream, for browsers
actor          who made a change: a token, a person, an operator at the command line, or the system
head           the last hash of an environment's chain of change sets
fact           one line of a description of the schema; a fingerprint is the hash of all facts
superseded     said of a database host that was the primary, after another one was promoted
drift          the facts that differ from the last migration
component      a running part of the service, with its task, health checks and metrics
heartbeat      the row that an instance writes to prove that it can
"""

VERSION = "0.1.0"
