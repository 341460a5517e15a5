-- Read models: folds of the log that can be thrown away and built again. Each lives in a schema named with its fold
-- version, such as `inbox_v1`. The service makes the schema when it first needs it and folds from position 0; a
-- rebuild makes a second one (`inbox_v1_rebuild`) beside it, and swaps the two when it has caught up.
--
-- So the tables below are made by functions, in whatever schema stands first in the search path. Writers work through
-- their search path; readers name the schema. Tenant first in every key. No enum or composite types, whose OIDs would
-- outlive a swap.

-- The first shape of the inbox, made by an earlier migration; it is folded anew.
DROP SCHEMA inbox_v1 CASCADE;

-- Makes a schema with the tables of a fold (such as `inbox_v1`); false where it is there already. Several nodes may
-- start at once.
CREATE FUNCTION read_model_create(schema_name text, fold text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('tidings read models', 0));
    IF to_regnamespace(schema_name) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE SCHEMA %I', schema_name);
    PERFORM set_config('search_path', format('%I, public', schema_name), true);
    EXECUTE format('SELECT %I()', 'build_' || fold);
    RETURN true;
END $$;

CREATE FUNCTION read_model_index(schema_name text, fold text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('search_path', format('%I, public', schema_name), true);
    EXECUTE format('SELECT %I()', 'index_' || fold);
END $$;

CREATE FUNCTION read_model_drop(schema_name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', schema_name);
END $$;

-- Puts the rebuilt schema in the place of the live one. The caller holds the lock of the live checkpoint, so nobody
-- writes; with these locks nobody reads, either, and whoever waits for them finds the new tables under the old names.
CREATE FUNCTION read_model_swap(live text, rebuilt text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT c.relname FROM pg_class c
                 WHERE c.relnamespace = to_regnamespace(live) AND c.relkind = 'r' ORDER BY c.relname LOOP
        EXECUTE format('LOCK TABLE %I.%I IN ACCESS EXCLUSIVE MODE', live, name);
    END LOOP;
    EXECUTE format('ALTER SCHEMA %I RENAME TO %I', live, live || '_old');
    EXECUTE format('ALTER SCHEMA %I RENAME TO %I', rebuilt, live);
    EXECUTE format('DROP SCHEMA %I CASCADE', live || '_old');
END $$;

-- What every read model has.
CREATE FUNCTION build_read_model(first_generation bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- One row: everything up to `position` is folded in. Whoever holds its lock works; the others wait their turn.
    -- `generation` grows whenever what was shown before may have changed, and starts at a million times the fold
    -- version, so that a newer version is always ahead. Cursors below `valid_from` are then told to start over.
    CREATE TABLE checkpoint (
        singleton  boolean PRIMARY KEY DEFAULT true CHECK (singleton),
        position   bigint  NOT NULL DEFAULT 0,
        generation bigint  NOT NULL,
        valid_from bigint  NOT NULL DEFAULT 0
    ) WITH (fillfactor = 10);
    INSERT INTO checkpoint (generation) VALUES (first_generation);

    -- The same for single recipients, each with the generation that began with it.
    CREATE TABLE valid_from (
        tenant     text COLLATE "C" NOT NULL,
        user_id    text COLLATE "C" NOT NULL,
        position   bigint           NOT NULL,
        generation bigint           NOT NULL,
        PRIMARY KEY (tenant, user_id)
    );

    -- Recipients of whom an event could not be applied: nothing of theirs is folded or shown from there on, until
    -- somebody redrives them. An event without a recipient parks the empty one.
    CREATE TABLE parked (
        tenant     text COLLATE "C" NOT NULL,
        user_id    text COLLATE "C" NOT NULL,
        position   bigint           NOT NULL,    -- the event
        generation bigint           NOT NULL,    -- began with it: what this recipient was shown ends here
        error      text             NOT NULL,
        parked_at  timestamptz      NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (tenant, user_id)
    );
END $$;

-- The inbox. Secondary indexes are made by a function of their own: a rebuild adds them when the rows are there.
CREATE FUNCTION build_inbox_v1() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM build_read_model(1000000);

    -- What each user has or had in the inbox, as it stands now.
    CREATE TABLE items (
        tenant        text COLLATE "C" NOT NULL,
        user_id       text COLLATE "C" NOT NULL,
        notification  uuid             NOT NULL,
        listed        bigint,                    -- where it entered the inbox (created or released); orders the list
        shelf         smallint,                  -- which lists show it, see below; null in none
        position      bigint           NOT NULL, -- its last change
        category      text COLLATE "C",
        tags          text[]           NOT NULL,
        content       text             NOT NULL, -- JSON: the members of an item that never change, as the API shows them
        seen_at       timestamptz,
        read_at       timestamptz,
        archived_at   timestamptz,
        snoozed_until timestamptz,
        ended         text CHECK (ended IN ('cancelled', 'expired')),
        PRIMARY KEY (tenant, user_id, notification)
    );

    -- Finds the items with a tag.
    CREATE TABLE item_tags (
        tenant       text COLLATE "C" NOT NULL,
        user_id      text COLLATE "C" NOT NULL,
        notification uuid             NOT NULL,
        tag          text COLLATE "C" NOT NULL,
        listed       bigint,
        shelf        smallint,
        position     bigint           NOT NULL,
        PRIMARY KEY (tenant, user_id, notification, tag)
    );

    -- Every event that altered what a user sees: the item's state and the counts AFTER it. Sockets replay these.
    CREATE TABLE changes (
        tenant        text COLLATE "C" NOT NULL,
        user_id       text COLLATE "C" NOT NULL,
        position      bigint           NOT NULL,
        event         text             NOT NULL,
        notification  uuid             NOT NULL,
        seen_at       timestamptz,
        read_at       timestamptz,
        archived_at   timestamptz,
        snoozed_until timestamptz,
        unread        bigint           NOT NULL,
        unseen        bigint           NOT NULL
    );

    -- The counts as they stand: active items (visible, not archived, not snoozed) not read, and not seen.
    CREATE TABLE counters (
        tenant   text COLLATE "C" NOT NULL,
        user_id  text COLLATE "C" NOT NULL,
        unread   bigint           NOT NULL,
        unseen   bigint           NOT NULL,
        position bigint           NOT NULL,      -- the last event that touched them
        PRIMARY KEY (tenant, user_id)
    ) WITH (fillfactor = 50);
END $$;

-- A list of any state is a merge of a few shelves, each in order: a page costs the same however long the inbox is.
-- A shelf is 3 times the place (0 active, 1 archived, 2 snoozed) plus the state (0 unseen, 1 seen, 2 read).
CREATE FUNCTION index_inbox_v1() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- The fold only adds to it.
    ALTER TABLE changes ADD PRIMARY KEY (tenant, user_id, position);
    CREATE INDEX items_shelf ON items (tenant, user_id, shelf, listed DESC) WHERE shelf IS NOT NULL;
    CREATE INDEX items_category ON items (tenant, user_id, category, shelf, listed DESC)
        WHERE shelf IS NOT NULL AND category IS NOT NULL;
    CREATE INDEX item_tags_shelf ON item_tags (tenant, user_id, tag, shelf, listed DESC) WHERE shelf IS NOT NULL;
END $$;

-- What is due when.
CREATE FUNCTION build_timers_v1() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM build_read_model(1000000);
    CREATE TABLE timers (
        tenant       text COLLATE "C" NOT NULL,
        user_id      text COLLATE "C" NOT NULL,
        notification uuid             NOT NULL,
        kind         text             NOT NULL CHECK (kind IN ('release', 'wake', 'expire')),
        due_at       timestamptz      NOT NULL,
        position     bigint           NOT NULL,  -- the event that set it
        PRIMARY KEY (tenant, user_id, notification, kind)
    );
END $$;

CREATE FUNCTION index_timers_v1() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- Due timers are walked page by page; thousands may be due at one instant.
    CREATE INDEX timers_due ON timers (due_at, notification, kind);
END $$;

-- How each notification's delivery stands, per channel of its plan.
CREATE FUNCTION build_delivery_v1() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM build_read_model(1000000);
    CREATE TABLE deliveries (
        tenant       text COLLATE "C" NOT NULL,
        user_id      text COLLATE "C" NOT NULL,
        notification uuid             NOT NULL,
        channel      text             NOT NULL,
        step         smallint         NOT NULL,  -- its place in the plan, from 0; step 0 stands for the notification
        created      bigint           NOT NULL,  -- the notification's first event; orders lists
        life         text             NOT NULL CHECK (life IN ('scheduled', 'active', 'cancelled', 'expired')),
        status       text             NOT NULL,
        attempt      integer          NOT NULL,
        due_at       timestamptz,                -- when the next attempt may begin, where one is waited for
        error        text,                       -- why the latest attempt failed
        position     bigint           NOT NULL,  -- its last change
        PRIMARY KEY (tenant, user_id, notification, channel)
    );
END $$;

CREATE FUNCTION index_delivery_v1() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- A list of every life is a merge of four, each in order: no page walks past what it does not show.
    CREATE INDEX deliveries_of_user ON deliveries (tenant, user_id, life, created DESC) WHERE step = 0;
    CREATE INDEX deliveries_of_tenant ON deliveries (tenant, life, created DESC) WHERE step = 0;
    CREATE INDEX deliveries_due ON deliveries (due_at) WHERE due_at IS NOT NULL;
END $$;
