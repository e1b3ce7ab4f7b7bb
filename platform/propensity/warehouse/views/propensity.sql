-- Every published score: of each region and as_of the run published last. What an output form or fewer classes leave out
-- is NULL; compact scores are read as the propensities they stand for.
CREATE OR REPLACE VIEW propensity AS
SELECT
    customer_id,
    event_timestamp,
    created_timestamp,
    region,
    model_version,
    run_id,
    coalesce(propensities, [(q / 4095e0) ** 2 FOR q IN compact_propensities]::FLOAT[]) AS propensities,
    top_categories,
    top_propensities,
    coalesce(class_propensities, [(q / 4095e0) ** 2 FOR q IN compact_class_propensities]::FLOAT[]) AS class_propensities,
    above_categories,
    above_propensities
FROM (
    SELECT *
    FROM read_parquet(
        'lake/category_propensity/*/*/*/*.parquet', hive_partitioning = false, union_by_name = true)
    UNION ALL BY NAME
    SELECT
        NULL::FLOAT[] AS class_propensities,
        NULL::INTEGER[] AS above_categories,
        NULL::FLOAT[] AS above_propensities,
        NULL::SMALLINT[] AS compact_propensities,
        NULL::SMALLINT[] AS compact_class_propensities
    WHERE false
) AS scores
SEMI JOIN (
    SELECT run_id
    FROM runs
    WHERE kind = 'scoring' AND state = 'published'
    QUALIFY row_number() OVER (PARTITION BY region, as_of ORDER BY created_timestamp DESC, run_id) = 1
) AS newest USING (run_id)
