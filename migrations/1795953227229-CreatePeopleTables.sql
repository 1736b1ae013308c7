-- Expand: people, their roles and grants, projects, and the history of these. A session may belong to
-- a person. Earlier releases refuse such a session, since its MAC covers more.
-- type: schema
-- phase: core
-- The sessions are few, and their new constraints allow more.
-- squawk-ignore-file constraint-missing-not-valid, ban-drop-constraint, adding-foreign-key-constraint
create table people (
    id             text        not null collate "C",
    mac            bytea       not null,
    issuer         text        not null collate "C",
    subject        text        not null collate "C",
    name           text        not null,
    email          text        not null default '',
    groups         text[]      not null default '{}' collate "C",
    first_seen_at  timestamptz not null default current_timestamp,
    last_seen_at   timestamptz not null default current_timestamp,
    claims_at      timestamptz not null default current_timestamp,
    suspended_at   timestamptz,

    constraint people_pkey primary key (id),
    constraint people_issuer_subject_unique unique (issuer, subject),
    constraint people_id_well_formed check (id ~ '^[0-9A-Za-z]{13}$'),
    constraint people_mac_length check (octet_length(mac) = 32),
    constraint people_texts_bounded
        check (
            char_length(issuer) >= 1
            and char_length(issuer) <= 255
            and char_length(subject) >= 1
            and char_length(subject) <= 255
            and char_length(name) >= 1
            and char_length(name) <= 200
            and char_length(email) <= 254
        ),
    constraint people_texts_printable check (issuer || subject || name || email !~ '[[:cntrl:]]'),
    constraint people_groups_bounded
        check (
            array_ndims(groups) = 1
            and cardinality(groups) <= 5000
            and array_position(groups, null) is null
            and array_position(groups, '') is null
            and array_to_string(groups, e'\n') !~ '[^\n]{255}[^\n]'
        ),
    constraint people_groups_printable check (array_to_string(groups, '') !~ '[[:cntrl:]]'),
    -- Every instance reads all rows. Python cannot represent times outside of this range.
    constraint people_times_bounded
        check (
            least(first_seen_at, last_seen_at, claims_at, suspended_at)
                >= timestamptz '1970-01-01 00:00:00Z'
            and greatest(first_seen_at, last_seen_at, claims_at, suspended_at)
                < timestamptz '9999-01-01 00:00:00Z'
        )
);

comment on table people is 'Who has signed in with a provider. Rows stay, so that names in the history stay. A row counts only if its MAC is valid.';
comment on column people.id is 'The actor of changes is person:ID.';
comment on column people.mac is 'HMAC-SHA-256 of the id, issuer, subject, groups and suspended_at. The key is not in the database, so write access alone adds no group.';
comment on column people.issuer is 'The provider. A person is an issuer and a subject; an e-mail address is no identity.';
comment on column people.groups is 'The groups of the last claims.';
comment on column people.claims_at is 'When the provider last confirmed name, e-mail address and groups.';
comment on column people.suspended_at is 'Null for a person who may sign in. The MAC covers it.';

create table roles (
    name         text        not null collate "C",
    mac          bytea       not null,
    description  text        not null default '',
    scopes       text[]      not null,
    version      bigint      not null default 1,
    created_by   text        not null,
    created_at   timestamptz not null default current_timestamp,
    updated_at   timestamptz not null default current_timestamp,

    constraint roles_pkey primary key (name),
    constraint roles_name_well_formed check (name ~ '^[a-z][a-z0-9-]{0,62}$'),
    constraint roles_mac_length check (octet_length(mac) = 32),
    constraint roles_scopes_flat check (array_ndims(scopes) = 1),
    constraint roles_scopes_known
        check (
            cardinality(scopes) > 0
            and scopes
                <@ array [
                    'evaluate', 'read', 'write', 'propose', 'approve', 'reveal', 'admin', 'publish'
                ]
        ),
    constraint roles_version_positive check (version > 0),
    constraint roles_texts_bounded
        check (char_length(description) <= 1000 and char_length(created_by) <= 255),
    constraint roles_texts_printable check (description || created_by !~ '[[:cntrl:]]'),
    constraint roles_times_bounded
        check (
            least(created_at, updated_at) >= timestamptz '1970-01-01 00:00:00Z'
            and greatest(created_at, updated_at) < timestamptz '9999-01-01 00:00:00Z'
        )
);

comment on table roles is 'Named sets of scopes, beside the roles that are built in. A row counts only if its MAC is valid.';
comment on column roles.mac is 'HMAC-SHA-256 of the name and the scopes.';
comment on column roles.version is 'The number of changes, plus 1.';

create table grants (
    id            text        not null collate "C",
    mac           bytea       not null,
    person_id     text        collate "C",
    group_name    text        collate "C",
    role          text        not null collate "C",
    environments  text[]      not null collate "C",
    prefix        text        not null default '' collate "C",
    reason        text        not null,
    created_by    text        not null,
    created_at    timestamptz not null default current_timestamp,

    constraint grants_pkey primary key (id),
    constraint grants_person_id_fkey foreign key (person_id) references people (id),
    constraint grants_id_well_formed check (id ~ '^[0-9A-Za-z]{13}$'),
    constraint grants_mac_length check (octet_length(mac) = 32),
    constraint grants_holder_given check (num_nonnulls(person_id, group_name) = 1),
    constraint grants_role_well_formed check (role ~ '^[a-z][a-z0-9-]{0,62}$'),
    constraint grants_environments_flat check (array_ndims(environments) = 1),
    constraint grants_environments_given
        check (
            cardinality(environments) >= 1
            and cardinality(environments) <= 200
            and array_position(environments, null) is null
            and array_to_string(environments, e'\n')
                ~ '^(\*|[a-z][a-z0-9-]{0,62}(\n[a-z][a-z0-9-]{0,62})*)$'
        ),
    constraint grants_prefix_well_formed
        check (prefix = '' or prefix ~ '^[A-Za-z0-9_][A-Za-z0-9._/-]{0,254}$'),
    constraint grants_texts_bounded
        check (
            char_length(group_name) >= 1
            and char_length(group_name) <= 255
            and char_length(reason) >= 1
            and char_length(reason) <= 500
            and char_length(created_by) <= 255
        ),
    constraint grants_texts_printable
        check (coalesce(group_name, '') || reason || created_by !~ '[[:cntrl:]]'),
    constraint grants_times_bounded
        check (
            created_at >= timestamptz '1970-01-01 00:00:00Z'
            and created_at < timestamptz '9999-01-01 00:00:00Z'
        )
);

comment on table grants is 'Who has which role, in which environments, for which keys. A row counts only if its MAC is valid.';
comment on column grants.mac is 'HMAC-SHA-256 of the id, holder, role, environments and prefix.';
comment on column grants.group_name is 'A group of the claims. Members may be unknown when the grant is made.';
comment on column grants.role is 'A role that is built in, or the name of a row in roles.';
comment on column grants.environments is 'Names, or one * for all environments, including future ones.';
comment on column grants.prefix is 'The grant is for the keys that begin with it. Empty: for all keys.';

create table projects (
    name         text        not null collate "C",
    mac          bytea       not null,
    prefix       text        not null collate "C",
    owner_group  text        not null collate "C",
    description  text        not null default '',
    version      bigint      not null default 1,
    created_by   text        not null,
    created_at   timestamptz not null default current_timestamp,
    updated_at   timestamptz not null default current_timestamp,

    constraint projects_pkey primary key (name),
    constraint projects_prefix_unique unique (prefix),
    constraint projects_name_well_formed check (name ~ '^[a-z][a-z0-9-]{0,62}$'),
    constraint projects_mac_length check (octet_length(mac) = 32),
    constraint projects_prefix_well_formed
        check (prefix ~ '^[A-Za-z0-9_][A-Za-z0-9._/-]{0,254}$'),
    constraint projects_version_positive check (version > 0),
    constraint projects_texts_bounded
        check (
            char_length(owner_group) >= 1
            and char_length(owner_group) <= 255
            and char_length(description) <= 1000
            and char_length(created_by) <= 255
        ),
    constraint projects_texts_printable
        check (owner_group || description || created_by !~ '[[:cntrl:]]'),
    constraint projects_times_bounded
        check (
            least(created_at, updated_at) >= timestamptz '1970-01-01 00:00:00Z'
            and greatest(created_at, updated_at) < timestamptz '9999-01-01 00:00:00Z'
        )
);

comment on table projects is 'A key prefix with the group that owns it. Members of the group administer its keys in all environments. A row counts only if its MAC is valid.';
comment on column projects.mac is 'HMAC-SHA-256 of the name, prefix and owner group.';
comment on column projects.version is 'The number of changes, plus 1.';

create table access_history (
    id            bigint      not null generated always as identity,
    at            timestamptz not null default current_timestamp,
    actor         text        not null,
    event         text        not null,
    subject       text        not null,
    environments  text[],
    prefix        text,
    reason        text        not null default '',
    before        jsonb,
    after         jsonb,

    constraint access_history_pkey primary key (id),
    constraint access_history_event_known
        check (
            event
            in (
                'grant_created', 'grant_revoked', 'grant_narrowed', 'role_created', 'role_changed',
                'role_deleted', 'project_created', 'project_changed', 'project_deleted',
                'person_suspended', 'person_restored', 'rows_signed'
            )
        ),
    constraint access_history_states_objects
        check (
            coalesce(jsonb_typeof(before), 'object') = 'object'
            and coalesce(jsonb_typeof(after), 'object') = 'object'
        ),
    constraint access_history_texts_bounded
        check (
            char_length(actor) <= 255
            and char_length(subject) <= 255
            and char_length(prefix) <= 255
            and char_length(reason) <= 500
            and cardinality(environments) <= 200
        ),
    constraint access_history_texts_printable
        check (actor || subject || coalesce(prefix, '') || reason !~ '[[:cntrl:]]')
);

comment on table access_history is 'Who changed grants, roles, projects and suspensions, when and why. Append-only.';
comment on column access_history.subject is 'The id of the grant or person, or the name of the role or project.';
comment on column access_history.environments is 'Those that the change concerns. Null: it concerns the whole installation.';
comment on column access_history.prefix is 'The keys that the change concerns. Null: it concerns the whole installation.';
comment on column access_history.before is 'The state before the change. Null for something new.';

alter table sessions
    add column person_id text collate "C",
    add constraint sessions_person_id_fkey foreign key (person_id) references people (id),
    drop constraint sessions_scopes_known,
    add constraint sessions_scopes_known
        check (
            (cardinality(scopes) > 0 or person_id is not null)
            and scopes
                <@ array [
                    'evaluate', 'read', 'write', 'propose', 'approve', 'reveal', 'admin', 'publish'
                ]
        ),
    drop constraint sessions_environments_given,
    add constraint sessions_environments_given
        check (
            (cardinality(environments) > 0 or person_id is not null)
            and array_position(environments, null) is null
            and array_position(environments, '') is null
        );

comment on column sessions.person_id is 'The person who signed in. The session has the rights of their grants, which can change while it lasts.';
