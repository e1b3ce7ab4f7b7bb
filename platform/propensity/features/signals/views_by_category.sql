-- What the customer looked at in the category without buying, how often and how long ago. Decays halve every N days.
SELECT
    snapshot,
    customer_id,
    category AS key,
    count(*) FILTER (age_days < 7) AS views_7d,
    count(*) FILTER (age_days < 30) AS views_30d,
    count(*) FILTER (age_days < 90) AS views_90d,
    count(*) FILTER (age_days < 365) AS views_365d,
    sum(exp(-ln(2) / 15 * age_days)) AS views_decay_15d,
    sum(exp(-ln(2) / 60 * age_days)) AS views_decay_60d,
    min(age_days) AS view_recency_days
FROM category_history
WHERE event_type = 'view'
GROUP BY ALL
