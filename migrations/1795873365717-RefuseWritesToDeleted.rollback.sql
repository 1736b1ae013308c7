drop trigger environments_stay_deleted on environments;

drop function skip_deleted_environment();
