-- Keys of services. A key itself is not kept, only its SHA-256: 256 random bits need no slow hash. A key never changes
-- but by its revocation, and its row stays, as events name it as their actor.
CREATE TABLE api_keys (
    id                  uuid PRIMARY KEY,                        -- UUIDv7: newest last
    tenant              text COLLATE "C" NOT NULL,
    name                text             NOT NULL,               -- for people; need not be unique
    sha256              bytea            NOT NULL UNIQUE,
    hint                text             NOT NULL,               -- its last characters, to know it by
    scopes              text[]           NOT NULL,
    requests_per_second integer,                                 -- null: as many as there are
    burst               integer,
    created_at          timestamptz      NOT NULL DEFAULT clock_timestamp(),
    expires_at          timestamptz,
    revoked_at          timestamptz,
    revision            bigint           NOT NULL                -- of its last change, set below
);
CREATE INDEX api_keys_of_tenant ON api_keys (tenant, id);
CREATE INDEX api_keys_by_revision ON api_keys (revision);
CREATE INDEX api_keys_in_use ON api_keys (id) WHERE revoked_at IS NULL;

-- Counts the changes of all keys. Nodes keep the keys in memory and read what has a greater revision than they know.
-- Its one row is locked until the change commits, so revisions become visible in their order and none is missed.
CREATE TABLE api_keys_head (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    revision  bigint  NOT NULL
);
INSERT INTO api_keys_head (revision) VALUES (0);

-- Whoever changes a key, by hand too, tells every node.
CREATE FUNCTION api_keys_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE api_keys_head SET revision = revision + 1 RETURNING revision INTO NEW.revision;
    PERFORM pg_notify('tidings_keys', '');
    RETURN NEW;
END $$;
CREATE TRIGGER api_keys_changed BEFORE INSERT OR UPDATE ON api_keys
    FOR EACH ROW EXECUTE FUNCTION api_keys_changed();

CREATE FUNCTION api_keys_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'keys are revoked, not removed: % refused', TG_OP USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER api_keys_stay BEFORE DELETE OR TRUNCATE ON api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION api_keys_stay();

-- Which key a ticket was made with: the socket it opens ends with that key. None for a ticket of the root key or of a
-- user's token.
ALTER TABLE tickets ADD COLUMN key_id uuid;
