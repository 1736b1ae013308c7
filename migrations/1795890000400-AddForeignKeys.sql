-- The foreign keys of all tables.
-- type: schema
-- phase: constraint
-- The tables are still empty, so validation takes no time and blocks no writer.
-- squawk-ignore-file adding-foreign-key-constraint, constraint-missing-not-valid
alter table configurations
    add constraint configurations_environment_fkey
        foreign key (environment) references environments (name);

alter table change_sets
    add constraint change_sets_environment_fkey
        foreign key (environment) references environments (name);

alter table changes
    add constraint changes_change_set_fkey
        foreign key (environment, revision) references change_sets (environment, revision);

alter table property_changes
    add constraint property_changes_change_set_fkey
        foreign key (environment, revision) references change_sets (environment, revision);

alter table data_keys
    add constraint data_keys_environment_fkey
        foreign key (environment) references environments (name);

alter table flag_usage
    add constraint flag_usage_environment_fkey
        foreign key (environment) references environments (name);

alter table tokens
    add constraint tokens_replaced_by_fkey foreign key (replaced_by) references tokens (id);
