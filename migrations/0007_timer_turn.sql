-- Whose turn it is to fire timers. Whoever holds the lock of the one row fires what is due; the other nodes pass by and
-- come back. The lock goes with its connection, so a node that dies leaves no turn behind. It guards against wasted
-- work only: that each timer has one effect is the aggregates' own rule.
CREATE TABLE timer_turn (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton)
);
INSERT INTO timer_turn DEFAULT VALUES;
