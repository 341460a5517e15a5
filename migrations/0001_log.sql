-- The event log. Everything else in this database can be rebuilt from it.

-- One row: where the log ends. An append locks it, so position order is commit order is visibility order, and
-- positions have no hole. fillfactor 10 keeps its many updates on one page (HOT).
CREATE TABLE log_head (
    singleton             boolean     PRIMARY KEY DEFAULT true CHECK (singleton),
    position         bigint      NOT NULL CHECK (position >= 0),   -- the last one assigned
    last_recorded_at timestamptz NOT NULL,                         -- keeps recorded_at monotone
    epoch            bigint      NOT NULL,
    incarnation      text        NOT NULL                          -- the cluster and timeline it was written on
) WITH (fillfactor = 10);

-- Where each epoch began. A cursor of an earlier epoch is valid below the first position of every later one:
-- what lies above was written to a history that this database does not have.
CREATE TABLE log_epochs (
    epoch          bigint      PRIMARY KEY,
    first_position bigint      NOT NULL CHECK (first_position > 0),
    incarnation    text        NOT NULL,
    started_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The first seven columns are those of postgres-es, which reads them by name. json, not jsonb: the bytes stay
-- as written and cost less to store. `position` has no default: there is one append path.
CREATE TABLE events (
    aggregate_type text COLLATE "C" NOT NULL,
    aggregate_id   text COLLATE "C" NOT NULL,
    sequence       bigint           NOT NULL CHECK (sequence > 0),
    event_type     text             NOT NULL,
    event_version  text             NOT NULL,
    payload        json             NOT NULL,
    metadata       json             NOT NULL,
    position       bigint           NOT NULL CHECK (position > 0),
    recorded_at    timestamptz      NOT NULL,
    tenant         text COLLATE "C" NOT NULL CHECK (tenant ~ '^[a-z0-9-]{1,63}$'),
    recipient      text COLLATE "C" CHECK (char_length(recipient) BETWEEN 1 AND 256),
    PRIMARY KEY (aggregate_type, aggregate_id, sequence)
);
CREATE UNIQUE INDEX events_position ON events (position);

CREATE FUNCTION log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the event log is append-only: % refused', TG_OP USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER events_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION log_is_append_only();

-- What a command with an Idempotency-Key answered, kept for ever beside the events it made. Work of several
-- jobs has a row per part; part 0 stands for the whole. `result` is the answer without its cursor, which
-- follows from `position`.
CREATE TABLE idempotency (
    tenant       text COLLATE "C" NOT NULL,
    principal    text COLLATE "C" NOT NULL,       -- `service`, or `user:` and the user
    key          text COLLATE "C" NOT NULL,
    part         integer          NOT NULL,
    request_hash bytea            NOT NULL,       -- SHA-256 of method, path and body
    status       smallint         NOT NULL,
    result       json             NOT NULL,
    position     bigint           NOT NULL,
    command_id   uuid             NOT NULL,       -- tells a retry of the same append from another request
    PRIMARY KEY (tenant, principal, key, part)
);

-- The cluster and timeline. A restore changes the first, a failover the second. Managed databases that hide
-- either answer `unknown`; there an operator runs `tidings epoch bump` after a restore.
CREATE FUNCTION log_incarnation() RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT system_identifier FROM pg_control_system())::text
        || '/' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8);
EXCEPTION WHEN insufficient_privilege OR undefined_function OR feature_not_supported THEN
    RETURN 'unknown';
END $$;

-- Starts a new epoch after the current head. Unix seconds make its number greater than any that a lost
-- history may have used.
CREATE FUNCTION log_start_epoch(now_on text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    head log_head%ROWTYPE;
    begun bigint;
BEGIN
    SELECT * INTO STRICT head FROM log_head FOR UPDATE;
    begun := greatest(head.epoch + 1, extract(epoch FROM clock_timestamp())::bigint);
    INSERT INTO log_epochs (epoch, first_position, incarnation) VALUES (begun, head.position + 1, now_on);
    UPDATE log_head SET epoch = begun, incarnation = now_on;
    RETURN begun;
END $$;

-- Every new connection that appends calls this first: a database that was restored or failed over starts an
-- epoch before anything is added to it.
CREATE FUNCTION log_open(OUT head bigint, OUT epoch bigint) LANGUAGE plpgsql AS $$
DECLARE
    row_ log_head%ROWTYPE;
    now_on text := log_incarnation();
BEGIN
    SELECT * INTO STRICT row_ FROM log_head FOR UPDATE;
    head := row_.position;
    epoch := row_.epoch;
    IF row_.incarnation <> now_on THEN
        epoch := log_start_epoch(now_on);
    END IF;
END $$;

INSERT INTO log_head (position, last_recorded_at, epoch, incarnation)
    VALUES (0, clock_timestamp(), extract(epoch FROM clock_timestamp())::bigint, log_incarnation());
INSERT INTO log_epochs (epoch, first_position, incarnation) SELECT epoch, 1, incarnation FROM log_head;

-- Appends a batch of jobs in one round trip. A job is all or nothing; one that lost its race or repeats an
-- idempotency key is reported in `losers` and leaves no trace, the others are numbered in job order.
--
-- jobs        command_ids[i] is job i, counted from 1
-- heads       the first event of each aggregate in a job: its place must be free and its predecessor present
-- e_*         the events, ordered by job
-- k_*         idempotency records
-- uncertain_since  set after a lost connection: jobs whose command id is found above this position were
--             committed by the call that was lost, and are reported with the position they have
--
-- The head is locked in a statement of its own, so that the probes after it get a snapshot taken under the
-- lock. Sequential scans are off because an empty table would otherwise cache a plan with one, for ever. The
-- probes are scalar subqueries with LIMIT 1, looked up in the index row by row: an EXISTS may be planned as a
-- hash of the whole table, and was.
CREATE FUNCTION log_append(
    command_ids uuid[], uncertain_since bigint,
    heads_job int[], heads_type text[], heads_id text[], heads_sequence bigint[],
    e_job int[], e_aggregate_type text[], e_aggregate_id text[], e_sequence bigint[],
    e_type text[], e_version text[], e_payload text[], e_metadata text[], e_tenant text[], e_recipient text[],
    k_job int[], k_tenant text[], k_principal text[], k_key text[], k_part int[],
    k_hash bytea[], k_status smallint[], k_result text[],
    OUT first_position bigint, OUT recorded_at timestamptz, OUT epoch bigint, OUT losers json
) LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    head    log_head%ROWTYPE;
    found   json;
    lost    int[] := '{}';
    beaten  int[];
    added   bigint;
BEGIN
    SELECT * INTO STRICT head FROM log_head FOR UPDATE;
    first_position := head.position + 1;
    epoch := head.epoch;
    recorded_at := greatest(clock_timestamp(), head.last_recorded_at);

    IF uncertain_since IS NOT NULL THEN
        SELECT array_agg(j.job), json_agg(json_build_object(
                   'job', j.job, 'verdict', 'stored', 'position', j.position, 'recorded_at', j.recorded_at))
          INTO lost, found
          FROM (SELECT array_position(command_ids, (e.metadata ->> 'command_id')::uuid) AS job,
                       max(e.position) AS position, max(e.recorded_at) AS recorded_at
                  FROM events e
                 WHERE e.position > uncertain_since AND (e.metadata ->> 'command_id')::uuid = ANY (command_ids)
                 GROUP BY 1) j;
        losers := found;
        lost := coalesce(lost, '{}');
    END IF;

    IF cardinality(k_job) > 0 THEN
        SELECT array_agg(k.job), json_agg(json_build_object(
                   'job', k.job, 'verdict', CASE WHEN i.command_id = command_ids[k.job] THEN 'stored' ELSE 'replayed' END,
                   'position', i.position, 'request_hash', encode(i.request_hash, 'hex'),
                   'status', i.status, 'result', i.result))
          INTO lost, found
          FROM unnest(k_job, k_tenant, k_principal, k_key, k_part) AS k (job, tenant, principal, key, part)
          JOIN LATERAL (SELECT * FROM idempotency i
                         WHERE (i.tenant, i.principal, i.key, i.part) = (k.tenant, k.principal, k.key, k.part)
                         LIMIT 1) i ON true
         WHERE k.job <> ALL (lost);
        lost := coalesce((SELECT array_agg((l ->> 'job')::int) FROM json_array_elements(losers) l), '{}')
             || coalesce(lost, '{}');
        losers := log_join(losers, found);
    END IF;

    SELECT array_agg(DISTINCT p.job) INTO beaten
      FROM (SELECT h.job,
                   (SELECT 1 FROM events e WHERE e.aggregate_type = h.type AND e.aggregate_id = h.id
                       AND e.sequence = h.sequence LIMIT 1) IS NOT NULL AS taken,
                   h.sequence > 1 AND (
                       SELECT 1 FROM events e WHERE e.aggregate_type = h.type AND e.aggregate_id = h.id
                          AND e.sequence = h.sequence - 1 LIMIT 1) IS NULL AS gap
              FROM unnest(heads_job, heads_type, heads_id, heads_sequence) AS h (job, type, id, sequence)) p
     WHERE (p.taken OR p.gap) AND p.job <> ALL (lost);
    IF beaten IS NOT NULL THEN
        lost := lost || beaten;
        losers := log_join(losers, (SELECT json_agg(json_build_object('job', j, 'verdict', 'conflict'))
                                      FROM unnest(beaten) j));
    END IF;

    INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                        position, recorded_at, tenant, recipient)
    SELECT e.aggregate_type, e.aggregate_id, e.sequence, e.type, e.version, e.payload::json, e.metadata::json,
           head.position + row_number() OVER (ORDER BY e.ord), log_append.recorded_at, e.tenant, e.recipient
      FROM unnest(e_job, e_aggregate_type, e_aggregate_id, e_sequence, e_type, e_version, e_payload, e_metadata,
                  e_tenant, e_recipient) WITH ORDINALITY
           AS e (job, aggregate_type, aggregate_id, sequence, type, version, payload, metadata, tenant, recipient, ord)
     WHERE e.job <> ALL (lost);
    GET DIAGNOSTICS added = ROW_COUNT;

    IF cardinality(k_job) > 0 THEN
        INSERT INTO idempotency (tenant, principal, key, part, request_hash, status, result, position, command_id)
        SELECT k.tenant, k.principal, k.key, k.part, k.hash, k.status, k.result::json,
               head.position + (SELECT count(*) FROM unnest(e_job) j WHERE j <= k.job AND j <> ALL (lost)),
               command_ids[k.job]
          FROM unnest(k_job, k_tenant, k_principal, k_key, k_part, k_hash, k_status, k_result)
               AS k (job, tenant, principal, key, part, hash, status, result)
         WHERE k.job <> ALL (lost);
    END IF;

    IF added > 0 THEN
        UPDATE log_head SET position = head.position + added, last_recorded_at = log_append.recorded_at;
        PERFORM pg_notify('tidings_log', (head.position + added)::text);
    END IF;
END $$;

-- Two lists as one; either may be absent.
CREATE FUNCTION log_join(a json, b json) RETURNS json LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN a IS NULL THEN b WHEN b IS NULL THEN a
                ELSE (SELECT json_agg(x) FROM (SELECT json_array_elements(a) AS x
                                               UNION ALL SELECT json_array_elements(b)) t) END
$$;
