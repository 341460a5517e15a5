-- Tickets: each opens one socket for one user, once, within 30 seconds. A ticket itself is not kept, only its SHA-256.
-- Unlogged, so that making one waits for no disk: a crash loses those of the last seconds, and clients fetch new ones.
CREATE UNLOGGED TABLE tickets (
    sha256                  bytea PRIMARY KEY,
    tenant                  text COLLATE "C" NOT NULL,
    user_id                 text COLLATE "C" NOT NULL,
    token_expires_at_unix_s bigint,                  -- of the token it was made with; a service's ticket has none
    expires_at              timestamptz NOT NULL
);
CREATE INDEX tickets_expires_at ON tickets (expires_at);
