-- The keys that seal personal content in `events`: one per recipient, itself sealed ("wrapped") by the master
-- key of the configuration. Deleting a row forgets the person; the log stays whole.
CREATE TABLE recipient_keys (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,   -- named by each sealed payload
    tenant     text COLLATE "C" NOT NULL,
    recipient  text COLLATE "C" NOT NULL,
    wrapped    bytea            NOT NULL,
    created_at timestamptz      NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (tenant, recipient)
);

-- A known text sealed with the master key, so that a start with another key is refused instead of writing
-- what nobody could read.
CREATE TABLE master_key_check (
    singleton   boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    sealed bytea   NOT NULL
);
