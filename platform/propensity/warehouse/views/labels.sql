-- One row per (customer, category) that the customer acted in within a label window.
CREATE OR REPLACE VIEW labels AS
SELECT labelled.region, customer_id, as_of, label_window_end, category, class
FROM (
    SELECT
        region,
        customer_id,
        as_of,
        event_timestamp AS label_window_end,
        unnest(label_categories) AS category_index,
        unnest(label_classes) AS class
    FROM read_parquet('lake/category_labels/*/*/*/*.parquet', hive_partitioning = false)
    SEMI JOIN (
        SELECT run_id
        FROM runs
        WHERE kind = 'labels'
        QUALIFY row_number() OVER (PARTITION BY region, as_of ORDER BY created_timestamp DESC, run_id) = 1
    ) AS newest USING (run_id)
) AS labelled
JOIN categories USING (region, category_index)
