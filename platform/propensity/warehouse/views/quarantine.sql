-- Every row that an import set aside, with the reason.
CREATE OR REPLACE VIEW quarantine AS
SELECT * FROM read_parquet('lake/quarantine/*/*/*.parquet', hive_partitioning = false, union_by_name = true)
