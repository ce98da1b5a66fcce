-- The floor's shared, queryable memory: a projection of the journal's facts (docs/decisions/0003-journal.md).
-- Money, prices and shares are NUMERIC(20,6): the venue's millionths, exact. Times are the facts' own, not the clock's.
-- `seq` is always the journal's row that the row here comes from.

-- The facts themselves, as journaled: the audit trail, and the copy from which a lost journal is rebuilt. The type json,
-- not jsonb, keeps the very text that was hashed.
CREATE TABLE facts (
    seq       bigint PRIMARY KEY CHECK (seq > 0),
    position  bigint NOT NULL CHECK (position >= 0),
    at        timestamptz NOT NULL,
    kind      text NOT NULL,
    payload   json NOT NULL,
    prev_hash bytea NOT NULL CHECK (length(prev_hash) = 32),
    hash      bytea NOT NULL CHECK (length(hash) = 32)
);
CREATE INDEX facts_kind ON facts (kind, seq);

-- Which journal is projected here, and how far. One row: the projector locks it for every batch.
CREATE TABLE projection (
    id        integer PRIMARY KEY CHECK (id = 1),
    genesis   bytea NOT NULL CHECK (length(genesis) = 32),
    last_seq  bigint NOT NULL CHECK (last_seq >= 0),
    last_hash bytea NOT NULL CHECK (length(last_hash) = 32)
);

CREATE TABLE runs (
    seq        bigint PRIMARY KEY,
    run        text NOT NULL,
    source     text NOT NULL,
    mode       text NOT NULL,
    capital    numeric(20, 6) NOT NULL CHECK (capital >= 0),
    seed       bigint NOT NULL,
    version    text NOT NULL,
    settings   json NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at   timestamptz,
    end_reason text,
    finished   boolean
);

-- An agent named by a fact before it was announced has state 'unknown', so that no trade is ever without its agent.
CREATE TABLE agents (
    id         text PRIMARY KEY,
    name       text NOT NULL,
    role       text NOT NULL DEFAULT '',
    state      text NOT NULL DEFAULT 'unknown'
               CHECK (state IN ('unknown', 'starting', 'running', 'crashed', 'benched', 'stopped')),
    message    text NOT NULL DEFAULT '',
    capital    numeric(20, 6) NOT NULL DEFAULT 0,
    starts     integer NOT NULL DEFAULT 0,
    crashes    integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL
);

CREATE TABLE capital_allocations (
    seq      bigint PRIMARY KEY,
    agent_id text NOT NULL REFERENCES agents (id),
    capital  numeric(20, 6) NOT NULL CHECK (capital >= 0),
    moved    numeric(20, 6) NOT NULL,
    at       timestamptz NOT NULL
);
CREATE INDEX capital_allocations_agent ON capital_allocations (agent_id, seq);

CREATE TABLE markets (
    id             text PRIMARY KEY,
    condition_id   text NOT NULL,
    series         text NOT NULL,
    asset          text NOT NULL,
    window_start   timestamptz NOT NULL,
    window_end     timestamptz NOT NULL,
    tick           numeric(20, 6) NOT NULL CHECK (tick > 0),
    size_min       numeric(20, 6) NOT NULL CHECK (size_min >= 0),
    fees           jsonb NOT NULL,
    taker_delay_ms integer NOT NULL CHECK (taker_delay_ms >= 0),
    rule_set       text NOT NULL,
    version        text NOT NULL,
    tokens         text[],
    opened_at      timestamptz NOT NULL,
    payout_up      numeric(20, 6) CHECK (payout_up BETWEEN 0 AND 1),
    settled_at     timestamptz,
    CHECK (window_end > window_start),
    CHECK ((payout_up IS NULL) = (settled_at IS NULL))
);
CREATE INDEX markets_series ON markets (series, window_start);

-- Every order as intended, with the proof the gate approved it on, and what became of it.
CREATE TABLE orders (
    id              text PRIMARY KEY,
    seq             bigint NOT NULL UNIQUE,
    agent_id        text NOT NULL REFERENCES agents (id),
    market_id       text NOT NULL REFERENCES markets (id),
    outcome         text NOT NULL CHECK (outcome IN ('UP', 'DOWN')),
    side            text NOT NULL CHECK (side IN ('BUY', 'SELL')),
    limit_price     numeric(20, 6) NOT NULL CHECK (limit_price BETWEEN 0 AND 1),
    shares          numeric(20, 6) NOT NULL CHECK (shares > 0),
    time_in_force   text NOT NULL CHECK (time_in_force IN ('FOK', 'FAK', 'GTC', 'GTD')),
    post_only       boolean NOT NULL,
    cost_max        numeric(20, 6) NOT NULL CHECK (cost_max >= 0),
    fair_value      numeric(20, 6) NOT NULL CHECK (fair_value BETWEEN 0 AND 1),
    reason          text NOT NULL,
    inputs          json NOT NULL,
    decided_at      timestamptz NOT NULL,
    expires_at      timestamptz,
    event_seq       bigint NOT NULL CHECK (event_seq >= 0),
    -- A stale, contradicted or unverifiable book cannot be traded on (D4): the database refuses the trade's proof.
    book_state      text NOT NULL CONSTRAINT orders_book_was_verified CHECK (book_state = 'verified'),
    book_age_ms     bigint NOT NULL CONSTRAINT orders_book_age_is_no_future CHECK (book_age_ms >= 0),
    best_bid        numeric(20, 6) CHECK (best_bid BETWEEN 0 AND 1),
    best_ask        numeric(20, 6) CHECK (best_ask BETWEEN 0 AND 1),
    depth           numeric(20, 6) NOT NULL CHECK (depth >= 0),
    fee_fingerprint text NOT NULL CHECK (fee_fingerprint <> ''),
    rule_set        text NOT NULL CHECK (rule_set <> ''),
    capital_base    numeric(20, 6) NOT NULL,
    agent_exposure  numeric(20, 6) NOT NULL,
    floor_exposure  numeric(20, 6) NOT NULL,
    status          text NOT NULL DEFAULT 'intended' CHECK (status IN ('intended', 'working', 'closed')),
    filled          numeric(20, 6) NOT NULL DEFAULT 0,
    accepted_at     timestamptz,
    closed_at       timestamptz,
    closed_reason   text CHECK (closed_reason IN
                    ('filled', 'killed', 'cancelled', 'expired', 'rejected', 'market_ended', 'never_sent')),
    venue_text      text,
    CONSTRAINT orders_filled_within_size CHECK (filled BETWEEN 0 AND shares),
    CONSTRAINT orders_close_has_a_reason CHECK ((status = 'closed') = (closed_reason IS NOT NULL)),
    CONSTRAINT orders_only_gtd_expires CHECK ((time_in_force = 'GTD') OR expires_at IS NULL)
);
CREATE INDEX orders_agent ON orders (agent_id, decided_at);
CREATE INDEX orders_market ON orders (market_id);

-- Two phases (D9): provisional when matched, confirmed or voided later. `notional` is price times shares, rounded
-- down, as the exchange reckons it on chain; the fee is on top.
CREATE TABLE fills (
    id           text PRIMARY KEY,
    seq          bigint NOT NULL UNIQUE,
    order_id     text NOT NULL REFERENCES orders (id),
    agent_id     text NOT NULL REFERENCES agents (id),
    market_id    text NOT NULL REFERENCES markets (id),
    outcome      text NOT NULL CHECK (outcome IN ('UP', 'DOWN')),
    side         text NOT NULL CHECK (side IN ('BUY', 'SELL')),
    price        numeric(20, 6) NOT NULL CHECK (price BETWEEN 0 AND 1),
    shares       numeric(20, 6) NOT NULL CHECK (shares > 0),
    notional     numeric(20, 6) NOT NULL CHECK (notional >= 0),
    fee          numeric(20, 6) NOT NULL CHECK (fee >= 0),
    liquidity    text NOT NULL CHECK (liquidity IN ('taker', 'maker')),
    available    numeric(20, 6) NOT NULL CHECK (available >= 0),
    rebate_basis numeric(20, 6) NOT NULL CHECK (rebate_basis >= 0),
    state        text NOT NULL DEFAULT 'provisional' CHECK (state IN ('provisional', 'confirmed', 'voided')),
    matched_at   timestamptz NOT NULL,
    final_at     timestamptz,
    venue_text   text,
    CONSTRAINT fills_final_has_a_time CHECK ((state = 'provisional') = (final_at IS NULL))
);
CREATE INDEX fills_order ON fills (order_id);
CREATE INDEX fills_market ON fills (market_id);

-- One row per order that has fills, voided ones left out: what people call a trade. The id is the order's.
CREATE TABLE trades (
    id          text PRIMARY KEY REFERENCES orders (id),
    agent_id    text NOT NULL REFERENCES agents (id),
    market_id   text NOT NULL REFERENCES markets (id),
    outcome     text NOT NULL CHECK (outcome IN ('UP', 'DOWN')),
    side        text NOT NULL CHECK (side IN ('BUY', 'SELL')),
    shares      numeric(20, 6) NOT NULL CHECK (shares > 0),
    price       numeric(20, 6) NOT NULL CHECK (price BETWEEN 0 AND 1),
    cost        numeric(20, 6) NOT NULL CHECK (cost >= 0),
    fees        numeric(20, 6) NOT NULL CHECK (fees >= 0),
    executed_at timestamptz NOT NULL,
    payout      numeric(20, 6) CHECK (payout >= 0),
    pnl         numeric(20, 6),
    settled_at  timestamptz,
    CHECK ((pnl IS NULL) = (settled_at IS NULL))
);
CREATE INDEX trades_executed ON trades (executed_at DESC);
CREATE INDEX trades_agent ON trades (agent_id, executed_at);
CREATE INDEX trades_market ON trades (market_id);

-- Double-entry: the movements of a transfer sum to zero in every asset, and the database checks it.
CREATE TABLE ledger_entries (
    transfer_id text NOT NULL,
    line        integer NOT NULL,
    seq         bigint NOT NULL,
    agent_id    text NOT NULL REFERENCES agents (id),
    account     text NOT NULL,
    asset       text NOT NULL,
    amount      numeric(20, 6) NOT NULL,
    state       text NOT NULL CHECK (state IN ('held', 'posted', 'voided')),
    at          timestamptz NOT NULL,
    PRIMARY KEY (transfer_id, line)
);
CREATE INDEX ledger_entries_agent ON ledger_entries (agent_id, account, asset);

CREATE FUNCTION require_balanced_transfers() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    uneven record;
BEGIN
    SELECT transfer_id, asset, sum(amount) AS difference INTO uneven
      FROM added GROUP BY transfer_id, asset HAVING sum(amount) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'transfer % does not sum to zero: % of %', uneven.transfer_id, uneven.difference, uneven.asset
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER ledger_entries_balance AFTER INSERT ON ledger_entries
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION require_balanced_transfers();

-- The one record an agent has for a window, always.
CREATE TABLE window_records (
    seq         bigint PRIMARY KEY,
    agent_id    text NOT NULL REFERENCES agents (id),
    market_id   text NOT NULL,
    verdict     text NOT NULL CHECK (verdict IN ('TRADED', 'PASSED', 'DOWN')),
    reason      text NOT NULL,
    value       double precision,
    threshold   double precision,
    shortfall   double precision,
    message     text NOT NULL,
    evaluations integer NOT NULL CHECK (evaluations >= 0),
    orders      integer NOT NULL CHECK (orders >= 0),
    fills       integer NOT NULL CHECK (fills >= 0),
    at          timestamptz NOT NULL,
    CONSTRAINT window_records_one_per_agent_and_market UNIQUE (agent_id, market_id)
);
CREATE INDEX window_records_at ON window_records (at DESC);

CREATE TABLE refusals (
    seq         bigint PRIMARY KEY,
    agent_id    text NOT NULL REFERENCES agents (id),
    market_id   text NOT NULL,
    rule        text NOT NULL,
    value       double precision NOT NULL,
    limit_value double precision NOT NULL,
    message     text NOT NULL,
    at          timestamptz NOT NULL
);
CREATE INDEX refusals_at ON refusals (at DESC);

CREATE TABLE audits (
    seq      bigint PRIMARY KEY,
    agent_id text NOT NULL REFERENCES agents (id),
    order_id text NOT NULL,
    passed   boolean NOT NULL,
    findings text[] NOT NULL,
    at       timestamptz NOT NULL
);
CREATE INDEX audits_order ON audits (order_id);

CREATE TABLE balance_audits (
    seq             bigint PRIMARY KEY,
    agent_id        text NOT NULL REFERENCES agents (id),
    desk_cash       numeric(20, 6) NOT NULL,
    recomputed_cash numeric(20, 6) NOT NULL,
    passed          boolean NOT NULL,
    at              timestamptz NOT NULL
);

-- agent_id NULL: the whole floor.
CREATE TABLE metrics (
    seq      bigint PRIMARY KEY,
    agent_id text REFERENCES agents (id),
    trades   integer NOT NULL CHECK (trades >= 0),
    wins     integer NOT NULL CHECK (wins >= 0),
    pnl      numeric(20, 6) NOT NULL,
    fees     numeric(20, 6) NOT NULL,
    equity   numeric(20, 6) NOT NULL,
    exposure numeric(20, 6) NOT NULL,
    win_rate double precision,
    sharpe   double precision,
    drawdown double precision NOT NULL,
    uptime   double precision NOT NULL,
    at       timestamptz NOT NULL
);
CREATE INDEX metrics_agent ON metrics (agent_id, seq DESC);

-- agent_id NULL: the whole floor. resumes_at NULL: until a person resumes.
CREATE TABLE pauses (
    seq          bigint PRIMARY KEY,
    agent_id     text REFERENCES agents (id),
    breaker      text NOT NULL,
    value        double precision NOT NULL,
    limit_value  double precision NOT NULL,
    message      text NOT NULL,
    paused_at    timestamptz NOT NULL,
    resumes_at   timestamptz,
    resumed_at   timestamptz,
    resumed_text text
);

CREATE TABLE system_events (
    id        bigint PRIMARY KEY,
    timestamp timestamptz NOT NULL,
    severity  text NOT NULL CHECK (severity IN ('INFO', 'WARNING', 'ERROR', 'CRITICAL')),
    component text NOT NULL,
    message   text NOT NULL
);
CREATE INDEX system_events_severity ON system_events (severity, timestamp DESC);
CREATE INDEX system_events_timestamp ON system_events (timestamp DESC);

-- Snapshots of the floor's state (D7). Not a projection: written beside the file checkpoints, newest kept.
CREATE TABLE checkpoints (
    seq          bigint PRIMARY KEY CHECK (seq >= 0),
    version      integer NOT NULL,
    position     bigint NOT NULL,
    at           timestamptz NOT NULL,
    journal_hash bytea NOT NULL CHECK (length(journal_hash) = 32),
    sha256       bytea NOT NULL CHECK (length(sha256) = 32),
    state        bytea NOT NULL,
    saved_at     timestamptz NOT NULL DEFAULT now()
);

CREATE VIEW agent_summary AS
SELECT a.id, a.name, a.role, a.state, a.capital, a.starts, a.crashes,
       count(t.id) AS trades,
       count(*) FILTER (WHERE t.pnl > 0) AS wins,
       count(t.pnl) AS settled,
       coalesce(sum(t.pnl), 0) AS pnl,
       coalesce(sum(t.fees), 0) AS fees,
       max(t.executed_at) AS last_trade_at
  FROM agents a LEFT JOIN trades t ON t.agent_id = a.id
 GROUP BY a.id;

-- What each agent owns by its posted and held movements alone, to be compared with what its desk says.
CREATE VIEW ledger_balances AS
SELECT agent_id, account, asset,
       coalesce(sum(amount) FILTER (WHERE state = 'posted'), 0) AS posted,
       coalesce(sum(amount) FILTER (WHERE state = 'held'), 0) AS held
  FROM ledger_entries
 GROUP BY agent_id, account, asset;

-- The floor's own units, for the named queries of polybot/storage/postgres.py.
CREATE FUNCTION millionths(amount numeric) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT (amount * 1000000)::bigint $$;
CREATE FUNCTION millis(moment timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT round(extract(epoch FROM moment) * 1000)::bigint $$;
