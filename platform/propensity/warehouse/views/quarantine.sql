-- Every row that an import which counts set aside, with its reason and as it stood in the source.
CREATE OR REPLACE VIEW quarantine AS
SELECT * FROM read_parquet('lake/quarantine/*/*/*.parquet', hive_partitioning = false, union_by_name = true)
WHERE run_id IN (SELECT run_id FROM runs WHERE state = 'finished')
