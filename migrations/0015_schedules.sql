-- Schedules tick: the third version of `timers`. That of version 2 stays for older nodes.
CREATE FUNCTION build_timers_v3() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM build_read_model(2000000);
    CREATE TABLE timers (
        tenant       text COLLATE "C" NOT NULL,
        user_id      text COLLATE "C" NOT NULL,
        notification uuid             NOT NULL,
        kind         text             NOT NULL,  -- release, wake, expire; activate_<channel> for a step of the plan
        due_at       timestamptz      NOT NULL,
        position     bigint           NOT NULL,  -- the event that set it
        PRIMARY KEY (tenant, user_id, notification, kind)
    );

    -- Schedules concern nobody in particular: they stand under the empty name, which no user has.
    CREATE TABLE schedules (
        tenant   text COLLATE "C" NOT NULL,
        user_id  text COLLATE "C" NOT NULL,
        schedule text COLLATE "C" NOT NULL,      -- the aggregate
        due_at   timestamptz      NOT NULL,      -- its next tick
        position bigint           NOT NULL,      -- the event that set it
        PRIMARY KEY (tenant, user_id, schedule)
    );
END $$;

CREATE FUNCTION index_timers_v3() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- Due timers are walked page by page; thousands may be due at one instant.
    CREATE INDEX timers_due ON timers (due_at, notification, kind);
    CREATE INDEX schedules_due ON schedules (due_at, schedule);
END $$;
