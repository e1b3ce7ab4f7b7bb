-- Every published score: of each region and as_of the run published last. Files of models of two classes have no
-- class_propensities: there it is NULL.
CREATE OR REPLACE VIEW propensity AS
SELECT scores.*
FROM (
    SELECT *
    FROM read_parquet(
        'lake/category_propensity/*/*/*/*.parquet', hive_partitioning = false, union_by_name = true)
    UNION ALL BY NAME
    SELECT NULL::FLOAT[] AS class_propensities WHERE false
) AS scores
SEMI JOIN (
    SELECT run_id
    FROM runs
    WHERE kind = 'scoring' AND state = 'published'
    QUALIFY row_number() OVER (PARTITION BY region, as_of ORDER BY created_timestamp DESC, run_id) = 1
) AS newest USING (run_id)
