drop index access_log_at_index;

drop index idempotency_keys_created_at_index;

drop index health_check_checked_at_index;
