-- Indexes for the pages of the access log.
-- type: schema
-- phase: index
-- squawk-ignore-file require-concurrent-index-creation

-- For the pages of one event.
create index access_log_event_index on access_log (event, id);

-- For the pages of one environment.
create index access_log_environment_index on access_log (environment, id);
