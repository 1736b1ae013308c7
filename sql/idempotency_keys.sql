-- Writes that had an Idempotency-Key, and their answers.
-- Owner: http/.

-- name: claim_idempotency_key(actor, key, request)$
-- Null when the key is taken. A claim that another transaction has not yet committed is waited for,
-- so two equal requests at once give one write. Each claim trims a few that are a day old.
with expired as (
    select idempotency_keys.actor, idempotency_keys.key
    from idempotency_keys
    where idempotency_keys.created_at < current_timestamp - interval '1 day'
    order by idempotency_keys.created_at
    limit 20
    for update skip locked
),

trimmed as (
    delete from idempotency_keys
    using expired
    where idempotency_keys.actor = expired.actor
      and idempotency_keys.key = expired.key
      and (idempotency_keys.actor, idempotency_keys.key) <> (:actor, :key)
)

insert into idempotency_keys (actor, key, request)
values (:actor, :key, :request)
on conflict on constraint idempotency_keys_pkey do nothing
returning true;

-- name: find_idempotency_key(actor, key)^
select
    request,
    answer
from idempotency_keys
where actor = :actor
  and key = :key;

-- name: keep_answer(actor, key, answer)!
update idempotency_keys
set answer = :answer
where actor = :actor
  and key = :key;

-- name: forget_answers_about(environment)!
-- A repeat would be told of what is gone with the environment. An answer names it as its own, or in each
-- change set, and that of its creation begins with its name.
delete from idempotency_keys
where answer is not null
  and (
      position('"environment":"' || :environment::text || '"' in convert_from(answer, 'UTF8')) > 0
      or starts_with(
          convert_from(answer, 'UTF8'), '{"name":"' || :environment::text || '","tier":'
      )
  );
