-- Expand: a row for each part of the people, also for those without people. Instances read a part
-- without a row with each poll, since they cannot know whether it changed.
-- type: data
-- phase: core
insert into access_editions (part)
select part
from regexp_split_to_table('0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz', '') as ids (part)
on conflict on constraint access_editions_pkey do nothing;
