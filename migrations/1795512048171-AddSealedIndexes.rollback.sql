alter table changes
    drop constraint changes_after_secret_sealed,
    drop constraint changes_before_secret_sealed;

drop index changes_after_data_key_index;

drop index changes_before_data_key_index;

drop index configurations_data_key_index;
