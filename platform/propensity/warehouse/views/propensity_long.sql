-- One row per (customer, category) of propensity_latest.
CREATE OR REPLACE VIEW propensity_long AS
SELECT
    scores.region,
    scores.customer_id,
    scores.event_timestamp,
    scores.model_version,
    scores.run_id,
    categories.category,
    scores.propensity
FROM (
    SELECT
        region,
        customer_id,
        event_timestamp,
        model_version,
        run_id,
        unnest(propensities) AS propensity,
        unnest(range(len(propensities))) AS position
    FROM propensity_latest
) AS scores
JOIN model_categories USING (region, model_version, position)
JOIN categories ON categories.region = scores.region AND categories.category_index = model_categories.category_index
