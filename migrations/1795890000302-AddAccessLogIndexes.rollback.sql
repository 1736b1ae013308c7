drop index access_log_environment_index;

drop index access_log_event_index;
