drop table changes;

drop table change_sets;
