-- Every imported event that counts: of recorded imports that no other reading of the same rows has replaced.
CREATE OR REPLACE VIEW events AS
SELECT * FROM read_parquet('lake/events/*/*/*.parquet', hive_partitioning = false)
WHERE run_id IN (SELECT run_id FROM runs WHERE kind = 'import' AND state = 'finished')
