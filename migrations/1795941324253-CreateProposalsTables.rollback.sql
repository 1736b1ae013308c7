drop table proposal_secrets;

drop table proposal_events;

drop table proposals;
