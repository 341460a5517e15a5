-- The inbox read model, fold version 1: a fold of the log that can be thrown away and built again.
-- Tenant first in every key. No enum or composite types, whose OIDs would outlive a swap of schemas.
CREATE SCHEMA inbox_v1;

-- One row: everything up to `position` is folded in. Whoever holds its lock works; the others wait their turn.
CREATE TABLE inbox_v1.checkpoint (
    singleton     boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    position bigint  NOT NULL
) WITH (fillfactor = 10);
INSERT INTO inbox_v1.checkpoint (position) VALUES (0);

-- What each user has or had in the inbox, as it stands now.
CREATE TABLE inbox_v1.items (
    tenant        text COLLATE "C" NOT NULL,
    user_id       text COLLATE "C" NOT NULL,
    notification  uuid             NOT NULL,
    listed        bigint,                      -- where it entered the inbox (created or released); orders the list
    position      bigint           NOT NULL,   -- its last change
    content       json             NOT NULL,   -- the members of an item that never change, as the API shows them
    seen_at       timestamptz,
    read_at       timestamptz,
    archived_at   timestamptz,
    snoozed_until timestamptz,
    ended         text CHECK (ended IN ('cancelled', 'expired')),
    PRIMARY KEY (tenant, user_id, notification)
);
CREATE INDEX items_listed ON inbox_v1.items (tenant, user_id, listed DESC) WHERE ended IS NULL;

-- Every event that altered what a user sees: the item's state and the counts AFTER it. Sockets replay these.
CREATE TABLE inbox_v1.changes (
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
    unseen        bigint           NOT NULL,
    PRIMARY KEY (tenant, user_id, position)
);

-- The counts as they stand: active items (visible, not archived, not snoozed) not read, and not seen.
CREATE TABLE inbox_v1.counters (
    tenant  text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    unread  bigint           NOT NULL CHECK (unread >= 0),
    unseen  bigint           NOT NULL CHECK (unseen >= 0),
    PRIMARY KEY (tenant, user_id)
) WITH (fillfactor = 50);
