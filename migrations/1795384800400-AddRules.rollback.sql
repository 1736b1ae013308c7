alter table idempotency_keys
    drop constraint idempotency_keys_request_length,
    drop constraint idempotency_keys_key_well_formed;

alter table tokens
    drop constraint tokens_environments_given,
    drop constraint tokens_scopes_known,
    drop constraint tokens_mac_length,
    drop constraint tokens_id_well_formed,
    drop constraint tokens_replaced_by_fkey;

alter table changes
    drop constraint changes_after_complete,
    drop constraint changes_before_complete,
    drop constraint changes_something_changed,
    drop constraint changes_key_well_formed,
    drop constraint changes_change_set_fkey;

alter table change_sets
    drop constraint change_sets_kind_known,
    drop constraint change_sets_revision_positive,
    drop constraint change_sets_environment_fkey;

alter table configurations
    drop constraint configurations_revision_positive,
    drop constraint configurations_version_positive,
    drop constraint configurations_secret_sealed,
    drop constraint configurations_kind_known,
    drop constraint configurations_key_well_formed,
    drop constraint configurations_environment_fkey;

alter table environments
    drop constraint environments_metadata_object,
    drop constraint environments_fractional_known,
    drop constraint environments_revision_not_negative,
    drop constraint environments_name_well_formed;

alter table health_check
    drop constraint health_check_status_known;
