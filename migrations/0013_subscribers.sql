-- Whom broadcasts reach: one more read model, `subscribers`.
CREATE FUNCTION build_subscribers_v1() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM build_read_model(1000000);

    -- Every interval of positions in which somebody was subscribed to a topic. A broadcast reaches those who were subscribed
    -- at its own position, however many have come and gone since: one range of the primary key, in the order of users.
    CREATE TABLE subscribers (
        tenant   text COLLATE "C" NOT NULL,
        topic    text COLLATE "C" NOT NULL,
        user_id  text COLLATE "C" NOT NULL,
        since    bigint           NOT NULL,   -- the event that began it
        until    bigint,                      -- the event that ended it; null while it lasts
        position bigint           NOT NULL,   -- its last change
        PRIMARY KEY (tenant, topic, user_id, since)
    );

    -- Broadcasts concern nobody in particular: they stand under the empty name, which no user has.
    CREATE TABLE broadcasts (
        tenant        text COLLATE "C" NOT NULL,
        user_id       text COLLATE "C" NOT NULL,
        broadcast     uuid             NOT NULL,
        topic         text,                      -- null where it names its users
        total         bigint,                    -- how many users it names; null where they are those of a topic
        created       bigint           NOT NULL, -- its first event: orders lists, and says whose subscribers are meant
        created_at    timestamptz      NOT NULL,
        status        text             NOT NULL CHECK (status IN ('running', 'completed', 'cancelled')),
        notifications bigint           NOT NULL, -- made so far
        position      bigint           NOT NULL, -- its last change
        PRIMARY KEY (tenant, user_id, broadcast)
    );
END $$;

CREATE FUNCTION index_subscribers_v1() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- The topics of one user.
    CREATE INDEX subscribers_of_user ON subscribers (tenant, user_id, topic) WHERE until IS NULL;
    CREATE INDEX broadcasts_of_tenant ON broadcasts (tenant, created DESC);
    -- What is left to do, oldest first; there are few.
    CREATE INDEX broadcasts_running ON broadcasts (created) WHERE status = 'running';
END $$;
