drop table health_check;
