alter table idempotency_keys
    drop column rights;

-- The earlier release would count an approval of some keys for all keys.
update proposal_events
set event = 'commented'
where event = 'approved'
  and exists (
      select
      from jsonb_each(approved_keys) as approved (environment, prefixes)
      where approved.prefixes <> '[""]'
  );

alter table proposal_events
    drop column approved_keys;

alter table proposals
    drop column covered;
