drop table flag_usage_hours;
