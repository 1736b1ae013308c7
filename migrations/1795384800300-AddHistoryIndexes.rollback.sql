drop index idempotency_keys_created_at_index;

drop index changes_environment_key_index;

drop index health_check_checked_at_index;
