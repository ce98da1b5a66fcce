"""The statements that carry facts into Postgres; each is run once per fact, many at a time (projection.py).

Amounts arrive as decimals, times as timestamps. Whatever is counted (an order's fills, a trade) is reckoned anew from
the fills and never added to, so that it is right whatever came before.
"""

ADD_AGENT = """
INSERT INTO agents (id, name, created_at, changed_at) VALUES ($1, $1, $2, $2) ON CONFLICT (id) DO NOTHING
"""
CHANGE_AGENT = """
UPDATE agents SET state = $2, role = $3, message = $4, changed_at = $5,
       starts = starts + CASE $2 WHEN 'starting' THEN 1 ELSE 0 END,
       crashes = crashes + CASE $2 WHEN 'crashed' THEN 1 ELSE 0 END
 WHERE id = $1
"""
SET_AGENT_CAPITAL = "UPDATE agents SET capital = $2 WHERE id = $1"
ADD_ALLOCATION = "INSERT INTO capital_allocations (seq, agent_id, capital, moved, at) VALUES ($1, $2, $3, $4, $5)"

START_RUN = """
INSERT INTO runs (seq, run, source, mode, capital, seed, version, settings, started_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""
END_RUN = """
UPDATE runs SET ended_at = $1, end_reason = $2, finished = $3
 WHERE seq = (SELECT max(seq) FROM runs) AND ended_at IS NULL
"""

# A market taken on again after a restart keeps when it was opened first, and takes its newest terms.
OPEN_MARKET = """
INSERT INTO markets (id, condition_id, series, asset, window_start, window_end, tick, size_min, fees, taker_delay_ms,
                     rule_set, version, tokens, opened_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
ON CONFLICT (id) DO UPDATE
   SET tick = excluded.tick, size_min = excluded.size_min, fees = excluded.fees,
       taker_delay_ms = excluded.taker_delay_ms, rule_set = excluded.rule_set, version = excluded.version
"""
SETTLE_MARKET = "UPDATE markets SET payout_up = $2, settled_at = $3 WHERE id = $1"

ADD_ORDER = """
INSERT INTO orders (id, seq, agent_id, market_id, outcome, side, limit_price, shares, time_in_force, post_only,
                    cost_max, fair_value, reason, inputs, decided_at, expires_at, event_seq, book_state, book_age_ms,
                    book_age_ms_max, best_bid, best_ask, depth, fee_fingerprint, rule_set, capital_base,
                    agent_exposure, floor_exposure)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
        $25, $26, $27, $28)
"""
ACCEPT_ORDER = "UPDATE orders SET status = 'working', accepted_at = $2 WHERE id = $1 AND status = 'intended'"
CLOSE_ORDER = """
UPDATE orders SET status = 'closed', closed_reason = $2, closed_at = $3, venue_text = coalesce($4, venue_text)
 WHERE id = $1
"""
COUNT_FILLED = """
UPDATE orders SET filled = (
    SELECT coalesce(sum(shares), 0) FROM fills WHERE order_id = $1 AND state <> 'voided')
 WHERE id = $1
"""

ADD_FILL = """
INSERT INTO fills (id, seq, order_id, agent_id, market_id, outcome, side, price, shares, notional, fee, liquidity,
                   available, rebate_basis, matched_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
"""
END_FILL = "UPDATE fills SET state = $2, final_at = $3, venue_text = $4 WHERE id = $1"

RECKON_TRADE = """
INSERT INTO trades (id, agent_id, market_id, outcome, side, shares, price, cost, fees, executed_at)
SELECT o.id, o.agent_id, o.market_id, o.outcome, o.side, sum(f.shares), round(sum(f.notional) / sum(f.shares), 6),
       sum(f.notional), sum(f.fee), min(f.matched_at)
  FROM orders o JOIN fills f ON f.order_id = o.id AND f.state <> 'voided'
 WHERE o.id = $1
 GROUP BY o.id
ON CONFLICT (id) DO UPDATE
   SET shares = excluded.shares, price = excluded.price, cost = excluded.cost, fees = excluded.fees,
       executed_at = excluded.executed_at
"""
DROP_EMPTY_TRADE = """
DELETE FROM trades
 WHERE id = $1 AND NOT EXISTS (SELECT FROM fills WHERE order_id = $1 AND state <> 'voided')
"""
SETTLE_TRADE = "UPDATE trades SET payout = $2, pnl = $3, settled_at = $4 WHERE id = $1"

ADD_TRANSFER = """
INSERT INTO ledger_entries (transfer_id, line, seq, agent_id, account, asset, amount, state, at)
SELECT $1, line, $2, $3, account, asset, amount, $4, $5
  FROM unnest($6::text[], $7::text[], $8::numeric[]) WITH ORDINALITY AS movement (account, asset, amount, line)
"""
END_TRANSFER = "UPDATE ledger_entries SET state = $2 WHERE transfer_id = $1"

ADD_WINDOW_RECORD = """
INSERT INTO window_records (seq, agent_id, market_id, verdict, reason, value, threshold, shortfall, message,
                            evaluations, orders, fills, at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
"""
ADD_REFUSAL = """
INSERT INTO refusals (seq, agent_id, market_id, rule, value, limit_value, message, at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
ADD_AUDIT = "INSERT INTO audits (seq, agent_id, order_id, passed, findings, at) VALUES ($1, $2, $3, $4, $5, $6)"
ADD_BALANCE_AUDIT = """
INSERT INTO balance_audits (seq, agent_id, desk_cash, recomputed_cash, passed, at) VALUES ($1, $2, $3, $4, $5, $6)
"""
ADD_METRICS = """
INSERT INTO metrics (seq, agent_id, trades, wins, pnl, fees, equity, exposure, win_rate, sharpe, drawdown, uptime, at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
"""
ADD_PAUSE = """
INSERT INTO pauses (seq, agent_id, breaker, value, limit_value, message, paused_at, resumes_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
END_PAUSES = """
UPDATE pauses SET resumed_at = $3, resumed_text = $4
 WHERE agent_id IS NOT DISTINCT FROM $1 AND breaker = $2 AND resumed_at IS NULL
"""
ADD_EVENT = "INSERT INTO system_events (id, timestamp, severity, component, message) VALUES ($1, $2, $3, $4, $5)"

# -- the projection's own place ----------------------------------------------------------------------------------------

FACT_COLUMNS = ("seq", "position", "at", "kind", "payload", "prev_hash", "hash")
CLAIM = """
INSERT INTO projection (id, genesis, last_seq, last_hash) VALUES (1, $1, 0, $1) ON CONFLICT (id) DO NOTHING
"""
LOCK_PLACE = "SELECT genesis, last_seq, last_hash FROM projection WHERE id = 1 FOR UPDATE"
ADVANCE = "UPDATE projection SET last_seq = $1, last_hash = $2 WHERE id = 1"
