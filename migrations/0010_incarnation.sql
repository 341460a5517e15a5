-- Which copy of the log this is. A cluster and its timeline tell of a failover and of a recovery to a point in time, not of
-- a dump that is restored into the cluster it came from. That makes the tables anew, so the number of one of them tells;
-- it also does where a managed database hides the rest.

-- By its longer name it is still the same copy: no epoch begins.
UPDATE log_head SET incarnation = incarnation || '/' || 'log_head'::regclass::oid
 WHERE incarnation = log_incarnation();

CREATE OR REPLACE FUNCTION log_incarnation() RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    tables text := 'log_head'::regclass::oid::text;
BEGIN
    RETURN (SELECT system_identifier FROM pg_control_system())::text
        || '/' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)
        || '/' || tables;
EXCEPTION WHEN insufficient_privilege OR undefined_function OR feature_not_supported THEN
    RETURN 'unknown/' || tables;
END $$;
