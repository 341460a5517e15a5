-- Who is delivering what. A lease keeps two workers from doing the same work twice at once; that nothing is sent twice is
-- decided by the notification. So losing leases costs no more than work in vain, and they need not outlive a crash.
CREATE SCHEMA dispatch;

CREATE UNLOGGED TABLE dispatch.leases (
    notification uuid        NOT NULL,
    channel      text        NOT NULL,
    attempt      integer     NOT NULL,  -- the one that may begin: it does not wait for the lease of an earlier one
    node         uuid        NOT NULL,  -- the process that has it
    until        timestamptz NOT NULL,  -- left alone until then, also where nobody may call yet
    PRIMARY KEY (notification, channel, attempt)
);

-- Finds those that are long out.
CREATE INDEX leases_until ON dispatch.leases (until);
