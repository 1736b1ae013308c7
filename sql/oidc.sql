-- The provider's tokens of sessions, and the sign-ins and logout tokens that were used.
-- Owner: access/oidc/.

-- name: claim_oidc_use(id, expires_at)^
-- Of two at the same time, the second waits for the first, and then returns no row.
insert into oidc_uses (id, expires_at)
values (:id, :expires_at)
on conflict (id) do nothing
returning id;

-- name: delete_expired_oidc_uses()!
delete from oidc_uses
where expires_at < current_timestamp;

-- name: insert_oidc_session(session_id, issuer, subject, sid, sealed, refresh_seconds)!
insert into oidc_sessions (session_id, issuer, subject, sid, sealed, refresh_at)
values (
    :session_id,
    :issuer,
    :subject,
    :sid,
    :sealed,
    current_timestamp + make_interval(secs => :refresh_seconds::double precision)
);

-- name: claim_oidc_refresh(lease_seconds, idle_seconds)^
-- The session whose refresh is due longest. Until the lease ends, no other instance gets it.
-- `claims_at` is from before the provider is asked.
update oidc_sessions
set refresh_at = current_timestamp + make_interval(secs => :lease_seconds)
where session_id = (
    select oidc_sessions.session_id
    from oidc_sessions
    join sessions on sessions.id = oidc_sessions.session_id
    where oidc_sessions.refresh_at <= current_timestamp
      and sessions.revoked_at is null
      and sessions.expires_at > current_timestamp
      and sessions.last_seen_at > current_timestamp - make_interval(secs => :idle_seconds)
    order by oidc_sessions.refresh_at
    limit 1
    for update of oidc_sessions skip locked
)
returning
    session_id,
    sealed,
    (
        select people.claims_at
        from sessions
        join people on people.id = sessions.person_id
        where sessions.id = oidc_sessions.session_id
    ) as claims_at;

-- name: update_oidc_session(session_id, sealed, refresh_seconds)!
-- Null `refresh_seconds` leaves the lease.
update oidc_sessions
set
    sealed = :sealed,
    refresh_at = coalesce(
        current_timestamp + make_interval(secs => :refresh_seconds::double precision),
        refresh_at
    )
where session_id = :session_id;

-- name: get_oidc_session(session_id)^
select sealed
from oidc_sessions
where session_id = :session_id;

-- name: list_oidc_sessions(issuer, subject, sid)
-- The sessions of a person, of a session at the provider, or of both. Null selects all.
-- A session of the person without a sid may be the one that ends.
select session_id
from oidc_sessions
where issuer = :issuer
  and (:subject::text is null or subject = :subject)
  and (:sid::text is null or sid = :sid or sid is null and subject = :subject)
order by session_id;

-- name: delete_ended_oidc_sessions()!
-- A refresh token of an ended session is of no use, except to a thief. So is that of a suspended
-- person.
delete from oidc_sessions
using sessions
left join people on people.id = sessions.person_id
where sessions.id = oidc_sessions.session_id
  and (
      sessions.revoked_at is not null
      or sessions.expires_at < current_timestamp
      or people.suspended_at is not null
  );
