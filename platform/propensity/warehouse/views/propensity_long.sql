-- One row per (customer, category) of propensity_latest: every category, or those that the run's output form kept.
CREATE OR REPLACE VIEW propensity_long AS
SELECT region, customer_id, event_timestamp, model_version, run_id, category, propensity
FROM (
    SELECT
        *,
        unnest(coalesce(propensities, above_propensities, top_propensities)) AS propensity,
        unnest(
            CASE
                WHEN propensities IS NOT NULL THEN model_order
                ELSE coalesce(above_categories, top_categories)
            END
        ) AS category_index
    FROM propensity_latest
    LEFT JOIN (
        SELECT region, model_version, list(category_index ORDER BY position) AS model_order
        FROM model_categories
        GROUP BY region, model_version
    ) AS models USING (region, model_version)
) AS scores
JOIN categories USING (region, category_index)
