-- The rules of the baseline. The database is the last judge of shape; the code asks first, to say it better.
-- type: schema
-- phase: constraint
-- The tables are empty when this runs, so checking them takes no time and blocks nobody.
-- squawk-ignore-file constraint-missing-not-valid, adding-foreign-key-constraint
alter table health_check
    add constraint health_check_status_known check (status in ('ok', 'fail'));

alter table environments
    add constraint environments_name_well_formed check (name ~ '^[a-z][a-z0-9-]{0,62}$'),
    add constraint environments_revision_not_negative check (revision >= 0),
    add constraint environments_fractional_known check (fractional in ('v2', 'v3')),
    add constraint environments_metadata_object check (jsonb_typeof(metadata) = 'object');

alter table configurations
    add constraint configurations_environment_fkey
        foreign key (environment) references environments (name),
    add constraint configurations_key_well_formed
        check (key ~ '^[A-Za-z0-9][A-Za-z0-9._/-]{0,254}$'),
    add constraint configurations_kind_known
        check (kind in ('setting', 'flag', 'segment', 'secret')),
    add constraint configurations_secret_sealed
        check ((kind = 'secret') = (sealed is not null) and (kind = 'secret') = (value is null)),
    add constraint configurations_version_positive check (version > 0),
    add constraint configurations_revision_positive check (updated_revision > 0);

alter table change_sets
    add constraint change_sets_environment_fkey
        foreign key (environment) references environments (name),
    add constraint change_sets_revision_positive check (revision > 0),
    add constraint change_sets_kind_known
        check (kind in ('edit', 'revert', 'restore', 'promote', 'import', 'scheduled'));

alter table changes
    add constraint changes_change_set_fkey
        foreign key (environment, revision) references change_sets (environment, revision),
    add constraint changes_key_well_formed
        check (key ~ '^[A-Za-z0-9][A-Za-z0-9._/-]{0,254}$'),
    add constraint changes_something_changed
        check (before_version is not null or after_version is not null),
    add constraint changes_before_complete
        check (
            (before_version is null) = (before_kind is null)
            and (
                before_version is not null
                or num_nonnulls(before_value, before_sealed, before_schema, before_description) = 0
            )
        ),
    add constraint changes_after_complete
        check (
            (after_version is null) = (after_kind is null)
            and (
                after_version is not null
                or num_nonnulls(after_value, after_sealed, after_schema, after_description) = 0
            )
        );

alter table tokens
    add constraint tokens_replaced_by_fkey foreign key (replaced_by) references tokens (id),
    add constraint tokens_id_well_formed check (id ~ '^[0-9A-Za-z]{13}$'),
    add constraint tokens_mac_length check (octet_length(mac) = 32),
    add constraint tokens_scopes_known
        check (
            cardinality(scopes) > 0
            and scopes <@ array ['evaluate', 'read', 'write', 'reveal', 'admin']
        ),
    add constraint tokens_environments_given
        check (
            cardinality(environments) > 0
            and array_position(environments, null) is null
            and array_position(environments, '') is null
        );

alter table idempotency_keys
    add constraint idempotency_keys_key_well_formed check (key ~ '^[!-~]{1,200}$'),
    add constraint idempotency_keys_request_length check (octet_length(request) = 32);
