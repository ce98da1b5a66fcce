-- One floor per account (docs/decisions/0004-one-floor.md). No projection: written by leaders and standbys alone.

-- Who leads. `beat` counts the renewals: a standby waits until it stands still. `seat` and `process` are what proves the
-- holder dead without waiting (polybot/storage/seat.py), `backend` the pid of its session. `renewed_at` is for people.
CREATE TABLE leadership (
    account    text PRIMARY KEY,
    epoch      bigint NOT NULL CHECK (epoch > 0),
    beat       bigint NOT NULL DEFAULT 0 CHECK (beat >= 0),
    holder     text NOT NULL,
    seat       text NOT NULL,
    process    text NOT NULL,
    backend    integer NOT NULL,
    released   boolean NOT NULL DEFAULT false,
    led_since  timestamptz NOT NULL DEFAULT clock_timestamp(),
    renewed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Makes the epoch part of a key, so that raising it waits for transactions that hold the row FOR KEY SHARE (every
    -- write of the leader does), while a renewal, which leaves the key alone, waits for none of them.
    CONSTRAINT leadership_epoch_is_a_key UNIQUE (account, epoch)
);

-- Who waits to lead.
CREATE TABLE standbys (
    account       text NOT NULL,
    holder        text NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (account, holder)
);
