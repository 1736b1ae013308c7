-- People, roles, grants, projects and their history.
-- Owner: access/people/.

-- name: list_people_parts(parts, after, before, page_size)
-- The people whose ids begin with one of these characters. Instances read them when they change.
-- `after` and `before` are limits of the ids, so that the index finds a single part.
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
  and id < :before
  and left(id, 1) = any(:parts::text[])
order by id
limit :page_size;

-- name: list_people(ids, after, page_size)
-- People by id. Null `ids` select all.
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
order by id
limit :page_size;

-- name: list_people_by_name(after, search, group_name, page_size)
-- People by name, after the one with the id `after`. Null `after`, `search` and `group_name` select all.
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
where (
    :after::text is null
    or (lower(name), id) > (
        select
            lower(last_of_page.name),
            last_of_page.id
        from people as last_of_page
        where last_of_page.id = :after
    )
)
  and (
      :search::text is null
      or position(lower(:search) in lower(name)) > 0
      or position(lower(:search) in lower(email)) > 0
  )
  and (:group_name::text is null or groups @> array[:group_name::text])
order by
    lower(name),
    id
limit :page_size;

-- name: list_people_names(page_size)
-- The first people by name, for the choice of a form.
select
    id,
    name
from people
order by
    lower(name),
    id
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

-- name: insert_person(id, mac, issuer, subject, name, email, groups, claims_at)!
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
    :claims_at,
    :claims_at,
    :claims_at
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

-- name: update_person(id, mac, name, email, groups, last_seen_at, claims_at)!
update people
set
    mac = :mac,
    name = :name,
    email = :email,
    groups = :groups,
    last_seen_at = :last_seen_at,
    claims_at = :claims_at
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

-- name: list_grant_page(after, person_id, group_name, role, environments, within, page_size)
-- Grants by id. Null `person_id`, `group_name`, `role` and `environments` select all.
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
where id > :after
  and (:person_id::text is null or person_id = :person_id)
  and (:group_name::text is null or group_name = :group_name)
  and (:role::text is null or role = :role)
  and (:environments::text[] is null or environments && :environments)
  and starts_with(prefix, :within)
order by id
limit :page_size;

-- name: get_grant(id)^
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
where id = :id;

-- name: count_grants()$
select count(*)
from grants;

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

-- name: delete_grant(id)!
delete from grants
where id = :id;

-- name: narrow_grant(id, mac, environments)!
update grants
set
    mac = :mac,
    environments = :environments
where id = :id;

-- name: insert_role(name, mac, description, scopes, created_by, at)!
insert into roles (name, mac, description, scopes, created_by, created_at, updated_at)
values (:name, :mac, :description, :scopes, :created_by, :at, :at);

-- name: update_role(name, mac, description, scopes)!
update roles
set
    mac = :mac,
    description = :description,
    scopes = :scopes,
    version = version + 1,
    updated_at = current_timestamp
where name = :name;

-- name: delete_role(name)!
delete from roles
where name = :name;

-- name: insert_project(name, mac, prefix, owner_group, description, created_by, at)!
insert into projects (
    name,
    mac,
    prefix,
    owner_group,
    description,
    created_by,
    created_at,
    updated_at
)
values (
    :name,
    :mac,
    :prefix,
    :owner_group,
    :description,
    :created_by,
    :at,
    :at
);

-- name: update_project(name, mac, owner_group, description)!
update projects
set
    mac = :mac,
    owner_group = :owner_group,
    description = :description,
    version = version + 1,
    updated_at = current_timestamp
where name = :name;

-- name: delete_project(name)!
delete from projects
where name = :name;

-- name: sign_people(ids, macs)!
update people
set mac = signed.mac
from unnest(:ids::text[], :macs::bytea[]) as signed (id, mac)
where people.id = signed.id;

-- name: sign_roles(ids, macs)!
update roles
set mac = signed.mac
from unnest(:ids::text[], :macs::bytea[]) as signed (id, mac)
where roles.name = signed.id;

-- name: sign_grants(ids, macs)!
update grants
set mac = signed.mac
from unnest(:ids::text[], :macs::bytea[]) as signed (id, mac)
where grants.id = signed.id;

-- name: sign_projects(ids, macs)!
update projects
set mac = signed.mac
from unnest(:ids::text[], :macs::bytea[]) as signed (id, mac)
where projects.name = signed.id;

-- name: insert_access_change(actor, event, subject, environments, prefix, reason, before, after)!
insert into access_history (
    actor,
    event,
    subject,
    environments,
    prefix,
    reason,
    before,
    after
)
values (
    :actor,
    :event,
    :subject,
    :environments,
    :prefix,
    :reason,
    :before::jsonb,
    :after::jsonb
);

-- name: list_access_changes(before, event, subject, own_environments, own_prefixes, page_size)
-- The latest first. Null `own_environments` selects all. Otherwise it has pairs with `own_prefixes`,
-- and each environment of a change must be in a pair whose prefix begins that of the change.
select
    id,
    at,
    actor,
    event,
    subject,
    environments,
    prefix,
    reason,
    before as old,
    after as new
from access_history
where id < :before
  and (:event::text is null or event = :event)
  and (:subject::text is null or subject = :subject)
  and (
      :own_environments::text[] is null
      or environments is not null
      and prefix is not null
      and not exists (
          select
          from unnest(environments) as named (environment)
          where not exists (
              select
              from unnest(:own_environments::text[], :own_prefixes::text[])
                  as own (environment, prefix)
              where own.environment in ('*', named.environment)
                and starts_with(access_history.prefix, own.prefix)
          )
      )
  )
order by id desc
limit :page_size;

-- name: list_groups(groups_max)
-- The groups of people, with the number of people in each. The largest come first.
select
    member.name,
    count(*) as people
from people
cross join lateral unnest(people.groups) as member (name)
group by member.name
order by people desc, member.name
limit :groups_max;
