-- What the customer bought in the category, how much, how long ago and how steadily.
-- Decays halve every N days; window_share counts the 30-day windows, up to 12, since the customer's first event.
WITH counted AS (
    SELECT
        snapshot,
        customer_id,
        category AS key,
        count(*) FILTER (age_days < 7) AS purchases_7d,
        count(*) FILTER (age_days < 30) AS purchases_30d,
        count(*) FILTER (age_days < 90) AS purchases_90d,
        count(*) FILTER (age_days < 365) AS purchases_365d,
        sum(quantity) FILTER (age_days < 90) AS quantity_90d,
        sum(value) FILTER (age_days < 90) AS spend_90d,
        sum(exp(-ln(2) / 15 * age_days)) AS purchases_decay_15d,
        sum(exp(-ln(2) / 60 * age_days)) AS purchases_decay_60d,
        sum(exp(-ln(2) / 180 * age_days)) AS purchases_decay_180d,
        sum(value * exp(-ln(2) / 60 * age_days)) AS spend_decay_60d,
        min(age_days) AS recency_days,
        max(age_days) AS first_purchase_days,
        avg(gap_days) AS gap_mean_days,
        stddev_pop(gap_days) AS gap_std_days,
        bit_count(bit_or(CASE WHEN age_days < 360 THEN 1::INTEGER << floor(age_days / 30)::INTEGER ELSE 0 END))
            AS windows
    FROM category_history
    WHERE event_type = 'purchase'
    GROUP BY ALL
)
SELECT
    counted.* EXCLUDE (windows),
    windows / least(12, floor(tenure_days / 30) + 1) AS window_share
FROM counted
JOIN spine USING (snapshot, customer_id)
