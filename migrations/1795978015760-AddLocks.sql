-- Expand: locks that only the service can take. Every role of the database can take an advisory lock.
-- type: schema
-- phase: core
create table locks (
    name  text  not null collate "C",

    constraint locks_pkey primary key (name),
    constraint locks_name_known
        check (name in ('access', 'environment_creation', 'local_admin', 'proposal_events'))
)
-- An update finds room in the page, so that dead rows do not fill more pages.
with (fillfactor = 50);

comment on table locks is 'A transaction that writes a row holds the lock of this name until it ends.';
