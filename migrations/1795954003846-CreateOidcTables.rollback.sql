drop table oidc_uses;
drop table oidc_sessions;
