alter table tokens
    drop constraint tokens_replaced_by_fkey;

alter table flag_usage
    drop constraint flag_usage_environment_fkey;

alter table data_keys
    drop constraint data_keys_environment_fkey;

alter table property_changes
    drop constraint property_changes_change_set_fkey;

alter table changes
    drop constraint changes_change_set_fkey;

alter table change_sets
    drop constraint change_sets_environment_fkey;

alter table configurations
    drop constraint configurations_environment_fkey;
