-- A trade's proof, held against what the database itself knows (issue 3): not only was the book verified (0001), it was
-- young enough, and the order was reckoned under terms that the venue served for its market and that somebody knows.

-- The settlement rules PolyBot knows how to trade under (polybot/risk/known_terms.py; a test compares the two). A new one
-- comes with a migration, after somebody has read it.
CREATE TABLE known_rule_sets (
    name text PRIMARY KEY
);
INSERT INTO known_rule_sets VALUES
    ('chainlink-spot'),
    ('chainlink-twap30-2026-08-07'),
    ('chainlink-twap60-2026-08-07'),
    ('chainlink-twap60-2026-08-14');

-- The name of a fee schedule as the floor makes it (polybot/domain/fees.py), reckoned here from the schedule itself.
CREATE FUNCTION fee_fingerprint(fees jsonb) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT left(encode(sha256(convert_to(concat_ws(':',
        fees ->> 'rate', fees ->> 'exponent', (fees ->> 'taker_only')::boolean::integer, fees ->> 'rebate_rate'
    ), 'UTF8')), 'hex'), 12)
$$;

-- Every combination of terms under which a market could be traded at some time. Terms change within a window, and facts
-- are carried over many at a time, so an order is held against all that its market ever had, not against the last.
-- Without a reference to markets, as it is filled from there and from nowhere else.
CREATE TABLE market_terms (
    market_id       text NOT NULL,
    fee_fingerprint text NOT NULL,
    rule_set        text NOT NULL,
    PRIMARY KEY (market_id, fee_fingerprint, rule_set)
);

CREATE FUNCTION remember_market_terms() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO market_terms VALUES (NEW.id, fee_fingerprint(NEW.fees), NEW.rule_set) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER markets_remember_terms AFTER INSERT OR UPDATE OF fees, rule_set ON markets
    FOR EACH ROW EXECUTE FUNCTION remember_market_terms();
INSERT INTO market_terms SELECT id, fee_fingerprint(fees), rule_set FROM markets;

-- Orders from before this migration have no bound of their own: they were judged under the default of their day.
ALTER TABLE orders ADD COLUMN book_age_ms_max bigint NOT NULL DEFAULT 5000;
ALTER TABLE orders ALTER COLUMN book_age_ms_max DROP DEFAULT;

-- NOT VALID: what is there is history, and stays; every new row is checked. Whatever a floor takes its bound to be, no
-- book older than a minute is ever traded on (BOOK_AGE_MS_CEILING in polybot/risk/limits.py).
ALTER TABLE orders
    ADD CONSTRAINT orders_book_age_within_bound CHECK (book_age_ms <= book_age_ms_max) NOT VALID,
    ADD CONSTRAINT orders_book_age_bound_is_sane CHECK (book_age_ms_max BETWEEN 1 AND 60000) NOT VALID,
    ADD CONSTRAINT orders_rule_set_is_known FOREIGN KEY (rule_set) REFERENCES known_rule_sets (name) NOT VALID,
    ADD CONSTRAINT orders_terms_were_the_markets FOREIGN KEY (market_id, fee_fingerprint, rule_set)
        REFERENCES market_terms (market_id, fee_fingerprint, rule_set) NOT VALID;
