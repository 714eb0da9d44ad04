-- Who may log in (passwords come in as psql variables) and the database itself. Run as postgres, first.
--   airlineops       the platform's own user, owner of everything
--   oncall           what opslib uses: sees all sessions, may end them; takes the owner's place only by SET ROLE
--   opslib_observer  reads, and cannot write even by mistake
CREATE ROLE airlineops LOGIN PASSWORD :'airlineops';
CREATE ROLE oncall LOGIN PASSWORD :'oncall';
GRANT pg_monitor, pg_signal_backend, pg_read_all_data TO oncall;
GRANT airlineops TO oncall WITH INHERIT FALSE, SET TRUE;
CREATE ROLE opslib_observer LOGIN PASSWORD :'opslib_observer';
GRANT pg_monitor, pg_read_all_data TO opslib_observer;
ALTER ROLE opslib_observer SET default_transaction_read_only = on;
CREATE DATABASE airline_ops OWNER airlineops;
\connect airline_ops
-- A switch of the server, on here: the platform itself creates it nowhere (PLATFORM.md 2).
CREATE EXTENSION pg_stat_statements;
CREATE EXTENSION pgstattuple;
CREATE EXTENSION amcheck;
