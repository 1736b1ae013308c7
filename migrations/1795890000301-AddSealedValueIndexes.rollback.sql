drop index changes_after_data_key_index;

drop index changes_before_data_key_index;

drop index configurations_data_key_index;
