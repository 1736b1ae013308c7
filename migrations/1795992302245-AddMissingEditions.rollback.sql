delete from access_editions
where part <> 'granting'
  and part not in (select left(id, 1) from people);
