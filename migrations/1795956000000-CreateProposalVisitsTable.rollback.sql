drop table proposal_visits;
