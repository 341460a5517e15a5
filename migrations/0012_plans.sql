-- Plans of several steps, and attempts that begin: the second version of two read models. Those of version 1 stay for
-- older nodes.

-- What is due when.
CREATE FUNCTION build_timers_v2() RETURNS void LANGUAGE plpgsql AS $$
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
END $$;

CREATE FUNCTION index_timers_v2() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- Due timers are walked page by page; thousands may be due at one instant.
    CREATE INDEX timers_due ON timers (due_at, notification, kind);
END $$;

-- How each notification's delivery stands, per channel of its plan.
CREATE FUNCTION build_delivery_v2() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM build_read_model(2000000);
    CREATE TABLE deliveries (
        tenant       text COLLATE "C" NOT NULL,
        user_id      text COLLATE "C" NOT NULL,
        notification uuid             NOT NULL,
        channel      text             NOT NULL,
        step         smallint         NOT NULL,  -- its place in the plan, from 0; step 0 stands for the notification
        created      bigint           NOT NULL,  -- the notification's first event; orders lists
        life         text             NOT NULL CHECK (life IN ('scheduled', 'active', 'cancelled', 'expired')),
        priority     smallint         NOT NULL,  -- 0 low to 3 urgent: the lane it is served in
        status       text             NOT NULL,
        attempt      integer          NOT NULL,
        due_at       timestamptz,                -- when its turn comes by itself, or its attempt may begin
        deadline     timestamptz,                -- when the attempt that is under way is lost
        work_at      timestamptz,                -- from when on a worker has to look at it, if ever
        skipped      text,                       -- why, where it was
        error_class  text,                       -- of the latest failed attempt, unless a later one succeeded
        error        text,                       -- the same in the reporter's words
        position     bigint           NOT NULL,  -- its last change
        PRIMARY KEY (tenant, user_id, notification, channel)
    );
END $$;

CREATE FUNCTION index_delivery_v2() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- A list of every life is a merge of four, each in order: no page walks past what it does not show.
    CREATE INDEX deliveries_of_user ON deliveries (tenant, user_id, life, created DESC) WHERE step = 0;
    CREATE INDEX deliveries_of_tenant ON deliveries (tenant, life, created DESC) WHERE step = 0;
    -- By lane, the longest due first. What is only in the app has no work in it, so a mark of it moves no index.
    CREATE INDEX deliveries_work ON deliveries (priority, work_at) WHERE work_at IS NOT NULL;
END $$;
