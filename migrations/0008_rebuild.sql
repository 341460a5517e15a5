-- What a rebuild needs to compare two schemas of one fold and to put the new one in the place of the old. Tables and
-- keys are those of the schemas themselves, so that these serve every read model: apart from the three that all of
-- them have, each of their tables has a tenant, a user and the position of a row's last change.

-- Locks the live checkpoint: from here to the end of the transaction nobody moves the live tables.
CREATE FUNCTION read_model_lock(live text, OUT "position" bigint, OUT generation bigint, OUT valid_from bigint)
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SELECT position, generation, valid_from FROM %I.checkpoint FOR UPDATE', live)
       INTO STRICT "position", generation, valid_from;
END $$;

-- Rows that differ between the two: of all recipients, or of those named. While the live one moves on, what it has just
-- changed differs too, and has to be looked at again under its lock.
CREATE FUNCTION read_model_differences(live text, rebuilt text, tenants text[], users text[])
RETURNS TABLE (table_name text, tenant text, user_id text, live_row json, rebuilt_row json) LANGUAGE plpgsql AS $$
DECLARE
    compared text;
    key_columns text;
    rows_of text;
BEGIN
    FOR compared IN SELECT c.relname FROM pg_class c
                     WHERE c.relnamespace = to_regnamespace(rebuilt) AND c.relkind = 'r'
                       AND c.relname NOT IN ('checkpoint', 'valid_from', 'parked') ORDER BY c.relname LOOP
        SELECT string_agg(quote_ident(a.attname), ', ') INTO key_columns
          FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
         WHERE i.indrelid = format('%I.%I', rebuilt, compared)::regclass AND i.indisprimary;
        IF users IS NULL THEN
            rows_of := 'SELECT * FROM %I.%I';
        ELSE
            rows_of := 'SELECT t.* FROM unnest($1, $2) u (tenant, user_id)
                          JOIN %I.%I t ON t.tenant = u.tenant AND t.user_id = u.user_id';
        END IF;
        RETURN QUERY EXECUTE format(
            'SELECT %L, coalesce(l.tenant, r.tenant), coalesce(l.user_id, r.user_id),
                    CASE WHEN l.position IS NOT NULL THEN to_json(l) END,
                    CASE WHEN r.position IS NOT NULL THEN to_json(r) END
               FROM (' || rows_of || ') l FULL JOIN (' || rows_of || ') r USING (%s)
              WHERE ROW(l.*) IS DISTINCT FROM ROW(r.*)',
            compared, live, compared, rebuilt, compared, key_columns) USING tenants, users;
    END LOOP;
    -- Who is parked in one and not in the other.
    RETURN QUERY EXECUTE format(
        'SELECT ''parked'', coalesce(l.tenant, r.tenant), coalesce(l.user_id, r.user_id), to_json(l.error),
                to_json(r.error)
           FROM %I.parked l FULL JOIN %I.parked r USING (tenant, user_id)
          WHERE l.position IS NULL OR r.position IS NULL', live, rebuilt);
END $$;

-- Takes over what the live schema knows of its own past, and begins a new generation for the recipients whose rows
-- differ; `everybody` where they are too many to name. Called with the live checkpoint locked.
CREATE FUNCTION read_model_adopt(live text, rebuilt text, tenants text[], users text[], everybody boolean)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    was record;
    next_generation bigint;
BEGIN
    SELECT * INTO STRICT was FROM read_model_lock(live);
    next_generation := was.generation + CASE WHEN everybody OR cardinality(users) > 0 THEN 1 ELSE 0 END;
    EXECUTE format('UPDATE %I.checkpoint SET generation = $1, valid_from = $2', rebuilt)
      USING next_generation, CASE WHEN everybody THEN was.position ELSE was.valid_from END;
    EXECUTE format('INSERT INTO %I.valid_from SELECT * FROM %I.valid_from', rebuilt, live);
    EXECUTE format('INSERT INTO %I.valid_from (tenant, user_id, position, generation)
                    SELECT tenant, user_id, $3, $4 FROM unnest($1, $2) u (tenant, user_id)
                    ON CONFLICT (tenant, user_id)
                    DO UPDATE SET position = excluded.position, generation = excluded.generation', rebuilt)
      USING tenants, users, was.position, next_generation;
    EXECUTE format('UPDATE %I.parked SET generation = $1', rebuilt) USING next_generation;
END $$;

-- Where each read model stands. `seconds` is the age of the first event it has not folded yet.
CREATE FUNCTION read_model_standing(live text, OUT "position" bigint, OUT parked bigint, OUT rebuilding boolean,
                                    OUT seconds double precision)
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SELECT c.position, (SELECT count(*) FROM %I.parked) FROM %I.checkpoint c', live, live)
       INTO STRICT "position", parked;
    -- Whoever rebuilds holds this lock; what a crash left of a schema is nobody's work.
    rebuilding := (SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                    WHERE l.locktype = 'advisory' AND d.datname = current_database() AND l.granted
                      AND (l.classid::bigint << 32 | l.objid::bigint) = hashtextextended('tidings rebuild ' || live, 0)
                    LIMIT 1) IS NOT NULL;
    seconds := coalesce((SELECT extract(epoch FROM clock_timestamp() - e.recorded_at) FROM events e
                          WHERE e.position = read_model_standing.position + 1), 0);
END $$;

-- What stands in a schema that was just filled, for the planner.
CREATE FUNCTION read_model_analyze(schema_name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT c.relname FROM pg_class c
                 WHERE c.relnamespace = to_regnamespace(schema_name) AND c.relkind = 'r' LOOP
        EXECUTE format('ANALYZE %I.%I', schema_name, name);
    END LOOP;
END $$;
