-- Every published score: of each region and as_of the run published last.
CREATE OR REPLACE VIEW propensity AS
SELECT scores.*
FROM read_parquet('lake/category_propensity/*/*/*/*.parquet', hive_partitioning = false) AS scores
SEMI JOIN (
    SELECT run_id
    FROM runs
    WHERE kind = 'scoring' AND state = 'published'
    QUALIFY row_number() OVER (PARTITION BY region, as_of ORDER BY created_timestamp DESC, run_id) = 1
) AS newest USING (run_id)
