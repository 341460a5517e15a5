-- Each lane of the deliveries is a queue per tenant and channel: one that is full or waits is passed over in one step.
CREATE OR REPLACE FUNCTION index_delivery_v2() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- A list of every life is a merge of four, each in order: no page walks past what it does not show.
    CREATE INDEX deliveries_of_user ON deliveries (tenant, user_id, life, created DESC) WHERE step = 0;
    CREATE INDEX deliveries_of_tenant ON deliveries (tenant, life, created DESC) WHERE step = 0;
    -- By lane, the longest due first. What is only in the app has no work in it, so a mark of it moves no index.
    CREATE INDEX deliveries_work ON deliveries (priority, work_at) WHERE work_at IS NOT NULL;
    CREATE INDEX deliveries_queue ON deliveries (priority, tenant, channel, work_at) WHERE work_at IS NOT NULL;
END $$;

-- Where it is built already, it gets the index at once.
DO $$
BEGIN
    IF to_regclass('delivery_v2.deliveries') IS NOT NULL THEN
        CREATE INDEX deliveries_queue ON delivery_v2.deliveries (priority, tenant, channel, work_at) WHERE work_at IS NOT NULL;
    END IF;
END $$;
