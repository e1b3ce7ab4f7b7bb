-- One row per (customer, category, event type of the labels) of propensity_latest: how likely the customer is to do that
-- or something of more commitment in the category. A run whose output form keeps no full vectors has rows of the
-- first event type only, which stands for any of them, and of the categories that it kept.
CREATE OR REPLACE VIEW propensity_by_event AS
SELECT
    scores.region,
    scores.customer_id,
    scores.event_timestamp,
    scores.model_version,
    scores.run_id,
    categories.category,
    run.event_types[scores.place // scores.width + 1] AS event_type,
    scores.propensity
FROM (
    SELECT
        region,
        customer_id,
        event_timestamp,
        model_version,
        run_id,
        len(propensities) AS width,
        unnest(propensities || coalesce(class_propensities, [])) AS propensity,
        unnest(range(len(propensities) + coalesce(len(class_propensities), 0))) AS place
    FROM propensity_latest
    WHERE propensities IS NOT NULL
) AS scores
JOIN (
    SELECT run_id, from_json(json_extract(detail, '$.event_types'), '["VARCHAR"]') AS event_types
    FROM runs
    WHERE kind = 'scoring'
) AS run USING (run_id)
JOIN model_categories
    ON model_categories.region = scores.region
    AND model_categories.model_version = scores.model_version
    AND model_categories.position = scores.place % scores.width
JOIN categories ON categories.region = scores.region AND categories.category_index = model_categories.category_index
UNION ALL
SELECT
    kept.region,
    kept.customer_id,
    kept.event_timestamp,
    kept.model_version,
    kept.run_id,
    kept.category,
    from_json(json_extract(runs.detail, '$.event_types'), '["VARCHAR"]')[1] AS event_type,
    kept.propensity
FROM propensity_long AS kept
JOIN runs USING (run_id)
WHERE json_extract_string(runs.detail, '$.output.form') IN ('top_k', 'above_threshold')
