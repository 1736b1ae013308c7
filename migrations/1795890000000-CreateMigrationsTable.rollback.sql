drop table migrations;
