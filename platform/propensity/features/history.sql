-- The relations that signal files read, for the customers of one bucket. `snapshots` (snapshot, as_of_us), `staged`
-- (every event with event_us, known_us, bucket) and `attributes` are there already.
--
-- Instants are integers (microseconds since 1970, UTC): DuckDB's arithmetic on TIMESTAMPTZ is fifty times slower.
-- known_us is when an event may first be used: strictly after it happened, and not before it was recorded.
CREATE OR REPLACE TEMP TABLE bucket_events AS
SELECT * EXCLUDE (bucket) FROM staged WHERE bucket = getvariable('bucket');

-- A basket whose lines carry several instants is several occasions: one row for it would carry later lines into
-- earlier snapshots.
CREATE OR REPLACE TEMP TABLE category_occasions AS
SELECT
    customer_id,
    event_type,
    category,
    basket_id,
    event_us,
    known_us,
    sum(quantity) AS quantity,
    sum(value) AS value,
    sum(discount) AS discount,
    bool_or(promoted) AS promoted
FROM bucket_events
WHERE category IS NOT NULL
GROUP BY ALL;

CREATE OR REPLACE TEMP VIEW history AS
SELECT snapshot, (as_of_us - event_us) / 86400e6 AS age_days, bucket_events.* EXCLUDE (event_us, known_us)
FROM bucket_events
JOIN snapshots ON known_us <= as_of_us;

-- The gap is taken within the snapshot: an event recorded late must not split the gaps of earlier snapshots.
-- Signals that don't read gap_days don't pay for it; DuckDB drops the window.
CREATE OR REPLACE TEMP VIEW category_history AS
SELECT
    snapshot,
    (as_of_us - event_us) / 86400e6 AS age_days,
    (event_us - lag(event_us) OVER (
        PARTITION BY snapshot, customer_id, event_type, category ORDER BY event_us, basket_id)) / 86400e6 AS gap_days,
    category_occasions.* EXCLUDE (event_us, known_us)
FROM category_occasions
JOIN snapshots ON known_us <= as_of_us;

-- What a retailer sends doesn't make a customer known; what the customer does, does.
CREATE OR REPLACE TEMP TABLE spine AS
SELECT
    snapshot,
    customer_id,
    max(age_days) AS tenure_days,
    row_number() OVER (ORDER BY snapshot, customer_id) - 1 AS position
FROM history
WHERE event_type != 'campaign_received'
GROUP BY snapshot, customer_id;

CREATE OR REPLACE TEMP VIEW attribute_history AS
SELECT snapshot, customer_id, attribute, arg_max(value, imported_timestamp) AS value
FROM attributes
JOIN snapshots ON coalesce(created_us, -9223372036854775807) <= as_of_us
WHERE customer_id IN (SELECT customer_id FROM spine)
GROUP BY ALL;
