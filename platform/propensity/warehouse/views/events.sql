-- Every imported event.
CREATE OR REPLACE VIEW events AS
SELECT * FROM read_parquet('lake/events/*/*/*.parquet', hive_partitioning = false)
