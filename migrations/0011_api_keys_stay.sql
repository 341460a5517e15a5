-- A running node takes of a key that it knows nothing but its revocation: what else was changed by hand would hold after
-- the next start only, and on one node after the other. So nothing else can be changed, and no revocation taken back: whoever
-- wants another key makes one. That every change by hand is told to the nodes, as 0009 says, is true of the changes that
-- are left.
CREATE FUNCTION api_keys_stay_as_made() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- revision is set by api_keys_changed, whatever is asked for.
    IF to_jsonb(NEW) - 'revoked_at' - 'revision' <> to_jsonb(OLD) - 'revoked_at' - 'revision'
        OR OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at
    THEN
        RAISE EXCEPTION 'a key can be revoked once, and not be changed: make another one'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER api_keys_stay_as_made BEFORE UPDATE ON api_keys
    FOR EACH ROW EXECUTE FUNCTION api_keys_stay_as_made();

-- Counts the keys that are good, for the limit of them, however many have expired.
CREATE INDEX api_keys_good ON api_keys (expires_at) WHERE revoked_at IS NULL;
DROP INDEX api_keys_in_use;
