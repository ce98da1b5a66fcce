-- A FOK or FAK BUY gives pUSD (docs/live-account.md): at a better price than was seen they bring more shares than were
-- meant. What bounds such an order is its money, which the auditor reckons from the fills.
ALTER TABLE orders
    DROP CONSTRAINT orders_filled_within_size,
    ADD CONSTRAINT orders_filled_within_size CHECK (
        filled >= 0 AND (filled <= shares OR (side = 'BUY' AND time_in_force IN ('FOK', 'FAK'))));
