drop table flag_usage;
