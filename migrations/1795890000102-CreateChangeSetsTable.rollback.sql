drop table change_sets;
