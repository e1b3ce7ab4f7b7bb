-- The relations that signal files read, for the customers of one bucket. `snapshots` (snapshot, as_of_us), `staged`
-- (see staging.sql) and `attributes` are there already.
--
-- An age is at least 0.0001 days: the last decimal kept, since a recency of 0 would say "never".
CREATE OR REPLACE TEMP TABLE bucket_events AS
FROM staged
WHERE customer_id BETWEEN getvariable('first_customer') AND getvariable('last_customer');

CREATE OR REPLACE TEMP VIEW history AS
SELECT
    snapshot,
    greatest(as_of_us - event_us, 8640000) / 86400e6 AS age_days,
    bucket_events.* EXCLUDE (event_us, known_us)
FROM bucket_events
JOIN snapshots ON known_us <= as_of_us;

-- One row per basket and instant. A basket whose lines carry several instants is several occasions: one row for it
-- would carry later lines into earlier snapshots. So are, until out_of_order below, lines recorded at different times.
CREATE OR REPLACE TEMP TABLE category_occasions AS
WITH occasions AS (
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
    GROUP BY ALL
),
ordered AS (
    SELECT
        *,
        event_us - lag(event_us) OVER earlier AS gap_us,
        coalesce(
            known_us < max(known_us) OVER (earlier ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
            OR (event_us = lag(event_us) OVER earlier AND basket_id = lag(basket_id) OVER earlier),
            false) AS overtaken
    FROM occasions
    WINDOW earlier AS (PARTITION BY customer_id, event_type, category ORDER BY event_us, basket_id, known_us)
)
SELECT
    * EXCLUDE (overtaken),
    bool_or(overtaken) OVER (PARTITION BY customer_id, event_type, category) AS out_of_order
FROM ordered;

-- Where occasions became known in the order in which they happened, each snapshot knows a prefix of them, so a gap is
-- the same in all. Where not, what was recorded late must not split or fill what earlier snapshots know: occasions and
-- gaps are taken within each snapshot.
CREATE OR REPLACE TEMP VIEW category_history AS
SELECT
    snapshot,
    greatest(as_of_us - event_us, 8640000) / 86400e6 AS age_days,
    gap_us / 86400e6 AS gap_days,
    customer_id,
    event_type,
    category,
    basket_id,
    quantity,
    value,
    discount,
    promoted
FROM category_occasions
JOIN snapshots ON known_us <= as_of_us
WHERE NOT out_of_order
UNION ALL
SELECT
    snapshot,
    greatest(as_of_us - event_us, 8640000) / 86400e6 AS age_days,
    (event_us - lag(event_us) OVER (
        PARTITION BY snapshot, customer_id, event_type, category ORDER BY event_us, basket_id)) / 86400e6 AS gap_days,
    customer_id,
    event_type,
    category,
    basket_id,
    sum(quantity),
    sum(value),
    sum(discount),
    bool_or(promoted)
FROM category_occasions
JOIN snapshots ON known_us <= as_of_us
WHERE out_of_order
GROUP BY snapshot, as_of_us, customer_id, event_type, category, basket_id, event_us;

-- What a retailer sends doesn't make a customer known; what the customer does, does.
CREATE OR REPLACE TEMP TABLE spine AS
SELECT
    snapshot,
    customer_id,
    max(age_days) AS tenure_days
FROM history
WHERE event_type != 'campaign_received'
GROUP BY snapshot, customer_id;

-- The value dated last stands, and of equal dates the one imported last; a value without a date has always been known.
CREATE OR REPLACE TEMP VIEW attribute_history AS
SELECT snapshot, customer_id, attribute, arg_max(value, (created_us, imported_timestamp)) AS value
FROM attributes
JOIN snapshots ON created_us <= as_of_us
WHERE customer_id BETWEEN getvariable('first_customer') AND getvariable('last_customer')
GROUP BY ALL;
