-- People, roles, grants, projects and their history.
-- Owner: access/people/.

-- name: list_people_parts(parts)
-- The people whose ids begin with one of these characters. Instances read them when they change.
select
    id,
    mac,
    issuer,
    subject,
    name,
    email,
    groups,
    first_seen_at,
    last_seen_at,
    claims_at,
    suspended_at
from people
where left(id, 1) = any(:parts::text[]);

-- name: list_people(ids, after, search, group_name, page_size)
-- People by id. Null `ids`, `search` and `group_name` select all.
select
    id,
    mac,
    issuer,
    subject,
    name,
    email,
    groups,
    first_seen_at,
    last_seen_at,
    claims_at,
    suspended_at
from people
where id > :after
  and (:ids::text[] is null or id = any(:ids))
  and (
      :search::text is null
      or position(lower(:search) in lower(name)) > 0
      or position(lower(:search) in lower(email)) > 0
  )
  and (:group_name::text is null or groups @> array[:group_name::text])
order by id
limit :page_size;

-- name: list_people_with(ids, groups, after, page_size)
-- The people who are not suspended, and have one of the ids or are in one of the groups.
select
    id,
    mac,
    issuer,
    subject,
    name,
    email,
    groups,
    first_seen_at,
    last_seen_at,
    claims_at,
    suspended_at
from people
where suspended_at is null
  and id > :after
  and (id = any(:ids::text[]) or groups && :groups::text[])
order by id
limit :page_size;

-- name: insert_person(id, mac, issuer, subject, name, email, groups, seen_at)!
-- The first of two sign-ins at once inserts the person.
insert into people (
    id,
    mac,
    issuer,
    subject,
    name,
    email,
    groups,
    first_seen_at,
    last_seen_at,
    claims_at
)
values (
    :id,
    :mac,
    :issuer,
    :subject,
    :name,
    :email,
    :groups,
    :seen_at,
    :seen_at,
    :seen_at
)
on conflict on constraint people_issuer_subject_unique do nothing;

-- name: lock_identity(issuer, subject)^
select
    id,
    mac,
    issuer,
    subject,
    name,
    email,
    groups,
    first_seen_at,
    last_seen_at,
    claims_at,
    suspended_at
from people
where issuer = :issuer
  and subject = :subject
for no key update;

-- name: lock_person(id)^
select
    id,
    mac,
    issuer,
    subject,
    name,
    email,
    groups,
    first_seen_at,
    last_seen_at,
    claims_at,
    suspended_at
from people
where id = :id
for no key update;

-- name: update_person(id, mac, name, email, groups, seen_at)!
update people
set
    mac = :mac,
    name = :name,
    email = :email,
    groups = :groups,
    last_seen_at = :seen_at,
    claims_at = :seen_at
where id = :id;

-- name: suspend_person(id, mac, suspended_at)!
-- Null restores the person.
update people
set
    mac = :mac,
    suspended_at = :suspended_at
where id = :id;

-- name: list_own_roles()
select
    name,
    mac,
    description,
    scopes,
    version,
    created_by,
    created_at,
    updated_at
from roles
order by name;

-- name: list_grants()
-- All grants, the oldest first. Every instance reads the whole list after a change.
select
    id,
    mac,
    person_id,
    group_name,
    role,
    environments,
    prefix,
    reason,
    created_by,
    created_at
from grants
order by created_at, id;

-- name: insert_grant(id, mac, person_id, group_name, role, environments, prefix, reason, created_by, created_at)!
insert into grants (
    id,
    mac,
    person_id,
    group_name,
    role,
    environments,
    prefix,
    reason,
    created_by,
    created_at
)
values (
    :id,
    :mac,
    :person_id,
    :group_name,
    :role,
    :environments,
    :prefix,
    :reason,
    :created_by,
    :created_at
);

-- name: list_projects()
select
    name,
    mac,
    prefix,
    owner_group,
    description,
    version,
    created_by,
    created_at,
    updated_at
from projects
order by name;

-- name: lock_access()$
-- Held until the end of the transaction by every change of roles, grants, projects and suspensions.
-- So the second of two administrators who remove each other sees what the first one did.
select pg_advisory_xact_lock(1885695075)::text;
