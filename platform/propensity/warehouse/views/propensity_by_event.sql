-- One row per (customer, category, event type of the labels) of propensity_latest: how likely the customer is to do that
-- or something of more commitment in the category. A run whose output form keeps no full vectors has rows of the
-- first event type only, which stands for any of them, and of the categories that it kept.
CREATE OR REPLACE VIEW propensity_by_event AS
SELECT
    region,
    customer_id,
    event_timestamp,
    model_version,
    run_id,
    category,
    event_types[events_below + 1] AS event_type,
    propensity
FROM (
    SELECT *, 0 AS events_below
    FROM propensity_long
    UNION ALL
    SELECT region, customer_id, event_timestamp, model_version, run_id, category, propensity, events_below
    FROM (
        SELECT
            *,
            unnest(class_propensities) AS propensity,
            unnest(range(len(class_propensities))) % len(propensities) AS position,
            unnest(range(len(class_propensities))) // len(propensities) + 1 AS events_below
        FROM propensity_latest
        WHERE class_propensities IS NOT NULL
    ) AS scores
    JOIN model_categories USING (region, model_version, position)
    JOIN categories USING (region, category_index)
) AS pairs
JOIN (
    SELECT run_id, from_json(json_extract(detail, '$.event_types'), '["VARCHAR"]') AS event_types
    FROM runs
    WHERE kind = 'scoring'
) AS run USING (run_id)
