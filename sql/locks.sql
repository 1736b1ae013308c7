-- Locks that are held until the end of a transaction.
-- Owner: database/.

-- name: take_lock(name)$
-- Not an advisory lock: every role of the database can take those, also one that may only read. A
-- row can be locked only by a role that may update it. The insert makes a row that is missing.
--
-- `access` is held by every change of tokens, roles, grants, projects and suspensions. Environments
-- are locked before it, and tokens after it, so that none can deadlock. So the second of two
-- administrators who remove each other sees what the first one did.
--
-- `environment_creation`: creations wait for each other, so that the count stays true. Release 0.1.0
-- takes an advisory lock instead. Beside it, the limit can be exceeded by the creations of that moment.
--
-- `local_admin` is held by the transaction that checks the admin token of a local installation.
--
-- `proposal_events` is taken late in a transaction, after the locks of the proposal and of its
-- environments.
insert into locks (name)
values (:name)
on conflict on constraint locks_pkey do update set name = excluded.name
returning name;
