drop table list_states;

drop table list_values;

drop table list_stores;
