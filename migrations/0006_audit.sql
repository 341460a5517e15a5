-- Looking into the log: the events of one user, and where the log stood at an instant.

-- The events of a user in order, without reading those of everybody else.
CREATE INDEX events_recipient ON events (tenant, recipient, position) WHERE recipient IS NOT NULL;

-- The last position recorded before `at`; 0 where there is none. recorded_at never falls from one position to the
-- next, so halving finds it with a few dozen lookups in a log of any length. Sequential scans are off because the
-- plan is kept from the time when the log was young.
CREATE FUNCTION log_position_at(at timestamptz) RETURNS bigint LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
DECLARE
    low      bigint := 0;   -- recorded before, or the beginning
    high     bigint;        -- what follows it was not
    middle   bigint;
    recorded timestamptz;
BEGIN
    SELECT position INTO STRICT high FROM log_head;
    WHILE low < high LOOP
        middle := low + (high - low + 1) / 2;
        SELECT e.recorded_at INTO STRICT recorded FROM events e WHERE e.position = middle;
        IF recorded < at THEN low := middle; ELSE high := middle - 1; END IF;
    END LOOP;
    RETURN low;
END $$;
