-- One row per (customer, category) of propensity_latest: every category, or those that the run's output form kept.
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
        category_index,
        propensity
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
        WHERE propensities IS NOT NULL
    ) AS vectors
    JOIN model_categories USING (region, model_version, position)
    UNION ALL
    SELECT
        region,
        customer_id,
        event_timestamp,
        model_version,
        run_id,
        unnest(coalesce(above_categories, top_categories)) AS category_index,
        unnest(coalesce(above_propensities, top_propensities)) AS propensity
    FROM propensity_latest
    WHERE propensities IS NULL
) AS scores
JOIN categories ON categories.region = scores.region AND categories.category_index = scores.category_index
