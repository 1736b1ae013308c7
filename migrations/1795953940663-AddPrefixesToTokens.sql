-- Expand: tokens for the keys below prefixes, and the scopes propose and approve. Earlier releases
-- refuse such tokens: the MAC covers prefixes other than the empty one, and they know no such scope.
-- type: schema
-- phase: core
-- The tables are short, and each row satisfies the new constraints.
-- squawk-ignore-file constraint-missing-not-valid, ban-drop-constraint
alter table tokens
    add column prefixes text[] not null default '{""}' collate "C",
    add constraint tokens_prefixes_well_formed
        check (
            array_ndims(prefixes) = 1
            and cardinality(prefixes) >= 1
            and cardinality(prefixes) <= 100
            and array_position(prefixes, null) is null
            and array_to_string(prefixes, e'\n')
                ~ '^([A-Za-z0-9_][A-Za-z0-9._/-]{0,254}(\n[A-Za-z0-9_][A-Za-z0-9._/-]{0,254})*)?$'
        ),
    drop constraint tokens_scopes_known,
    add constraint tokens_scopes_known
        check (
            cardinality(scopes) > 0
            and scopes
                <@ array [
                    'evaluate', 'read', 'write', 'propose', 'approve', 'reveal', 'admin', 'relay',
                    'publish'
                ]
        );

alter table sign_in_codes
    add column prefixes text[] not null default '{""}' collate "C",
    add constraint sign_in_codes_prefixes_well_formed
        check (
            array_ndims(prefixes) = 1
            and cardinality(prefixes) >= 1
            and cardinality(prefixes) <= 100
            and array_position(prefixes, null) is null
            and array_to_string(prefixes, e'\n')
                ~ '^([A-Za-z0-9_][A-Za-z0-9._/-]{0,254}(\n[A-Za-z0-9_][A-Za-z0-9._/-]{0,254})*)?$'
        ),
    drop constraint sign_in_codes_scopes_known,
    add constraint sign_in_codes_scopes_known
        check (
            cardinality(scopes) > 0
            and scopes
                <@ array [
                    'evaluate', 'read', 'write', 'propose', 'approve', 'reveal', 'admin', 'publish'
                ]
        );

alter table sessions
    add column prefixes text[] not null default '{""}' collate "C",
    add constraint sessions_prefixes_well_formed
        check (
            array_ndims(prefixes) = 1
            and cardinality(prefixes) >= 1
            and cardinality(prefixes) <= 100
            and array_position(prefixes, null) is null
            and array_to_string(prefixes, e'\n')
                ~ '^([A-Za-z0-9_][A-Za-z0-9._/-]{0,254}(\n[A-Za-z0-9_][A-Za-z0-9._/-]{0,254})*)?$'
        );

comment on column tokens.prefixes is 'The token is for the keys that begin with one of them. One empty prefix: for all keys.';
comment on column sign_in_codes.prefixes is 'As in tokens. The MAC covers it.';
comment on column sessions.prefixes is 'As in tokens. The MAC covers it.';
