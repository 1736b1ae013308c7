alter table health_check
    drop constraint health_check_status_known,
    add constraint health_check_status_known check (status in ('ok', 'fail'));
