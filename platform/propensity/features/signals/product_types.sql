-- Items bought by product type, the level below the category.
SELECT
    snapshot,
    customer_id,
    product_type AS key,
    count(*) FILTER (age_days < 90) AS product_type_90d,
    sum(exp(-ln(2) / 60 * age_days)) AS product_type_decay_60d
FROM history
WHERE event_type = 'purchase' AND age_days < 365
GROUP BY ALL
