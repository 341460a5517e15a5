-- Deliveries that are found by how they stand: the third version of that read model. Version 2 stays for older nodes.

-- How each notification's delivery stands, per channel of its plan.
CREATE FUNCTION build_delivery_v3() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM build_read_model(3000000);
    CREATE TABLE deliveries (
        tenant       text COLLATE "C" NOT NULL,
        user_id      text COLLATE "C" NOT NULL,
        notification uuid             NOT NULL,
        channel      text             NOT NULL,
        step         smallint         NOT NULL,  -- its place in the plan, from 0; step 0 stands for the notification
        created      bigint           NOT NULL,  -- the notification's first event; orders lists
        life         text             NOT NULL CHECK (life IN ('scheduled', 'active', 'cancelled', 'expired')),
        priority     smallint         NOT NULL,  -- 0 low to 3 urgent: the lane it is served in
        category     text,
        status       text             NOT NULL,
        attempt      integer          NOT NULL,
        due_at       timestamptz,                -- when its turn comes by itself, or its attempt may begin
        deadline     timestamptz,                -- when the attempt that is under way is lost
        work_at      timestamptz,                -- from when on a worker has to look at it, if ever
        skipped      text,                       -- why, where it was
        deferred     text,                       -- why its attempt waits though nothing has failed, where it does
        error_class  text,                       -- of the latest failed attempt, unless a later one succeeded
        error        text,                       -- the same in the reporter's words
        position     bigint           NOT NULL,  -- its last change
        changed_at   timestamptz      NOT NULL,  -- the same as an instant
        PRIMARY KEY (tenant, user_id, notification, channel)
    );
END $$;

CREATE FUNCTION index_delivery_v3() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- A list of every life is a merge of four, each in order: no page walks past what it does not show.
    CREATE INDEX deliveries_of_user ON deliveries (tenant, user_id, life, created DESC) WHERE step = 0;
    CREATE INDEX deliveries_of_tenant ON deliveries (tenant, life, created DESC) WHERE step = 0;
    -- By lane, the longest due first, and the same for each queue of the dispatcher. What is only in the app has no work in it.
    CREATE INDEX deliveries_work ON deliveries (priority, work_at) WHERE work_at IS NOT NULL;
    CREATE INDEX deliveries_queue ON deliveries (priority, tenant, channel, work_at) WHERE work_at IS NOT NULL;

    -- What stands how, the last changed first: a list of every channel and status is a merge of their ranges. What changes
    -- goes to the end of one, so that the work in the first index is done in a few pages however many rows there are. The
    -- status comes first: as a way to single rows it may not look as good as the primary key, also not to a planner that has
    -- never seen the table analysed. What one user has is read by the primary key.
    CREATE INDEX deliveries_status ON deliveries (status, tenant, channel, position);
    -- What failed, at least once.
    CREATE INDEX deliveries_error ON deliveries (tenant, error_class, channel, status, position)
        WHERE error_class IS NOT NULL;
    -- What failed for good and may be retried. What has ended since is not walked past.
    CREATE INDEX deliveries_failed ON deliveries (tenant, status, channel, error_class, position) INCLUDE (user_id)
        WHERE life = 'active' AND status IN ('dead_lettered', 'exhausted');
END $$;
