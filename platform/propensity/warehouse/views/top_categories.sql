-- The likeliest categories of each customer in propensity_latest, rank 1 first.
CREATE OR REPLACE VIEW top_categories AS
SELECT region, customer_id, event_timestamp, rank, category, propensity, model_version, run_id
FROM (
    SELECT
        *,
        unnest(top_categories) AS category_index,
        unnest(top_propensities) AS propensity,
        unnest(range(1, len(top_categories) + 1)) AS rank
    FROM propensity_latest
) AS scores
JOIN categories USING (region, category_index)
