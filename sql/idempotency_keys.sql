-- Writes that had an Idempotency-Key, and their answers.
-- Owner: http/.

-- name: claim_idempotency_key(actor, key, request, rights)$
-- Returns null if the key is taken. It waits for an uncommitted claim of another transaction, so
-- two equal requests give one write. Each claim also deletes a few claims that are a day old.
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

insert into idempotency_keys (actor, key, request, rights)
values (:actor, :key, :request, :rights)
on conflict on constraint idempotency_keys_pkey do nothing
returning true;

-- name: find_idempotency_key(actor, key)^
select
    request,
    rights,
    answer
from idempotency_keys
where actor = :actor
  and key = :key;

-- name: update_answer(actor, key, answer)!
update idempotency_keys
set answer = :answer
where actor = :actor
  and key = :key;

-- name: delete_answers_about(environment)!
-- A repeat must not get an answer about a deleted environment. An answer names it as its own
-- member, or in each change set. The answer of its creation begins with its name.
delete from idempotency_keys
where answer is not null
  and (
      position('"environment":"' || :environment::text || '"' in convert_from(answer, 'UTF8')) > 0
      or starts_with(
          convert_from(answer, 'UTF8'), '{"name":"' || :environment::text || '","tier":'
      )
  );
