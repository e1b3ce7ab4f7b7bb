-- Checks the view `source` of customers, whose attributes are the struct `fields`; the last line of a customer at the
-- same created_timestamp stands. {created_timestamp}: see importing.py.
CREATE OR REPLACE TEMP TABLE checked AS
WITH parsed AS (
    SELECT
        source_name,
        source_line,
        unreadable,
        source.raw AS raw_row,
        tidy(source.customer_id) AS customer_id,
        tidy(source.created_timestamp) IS NOT NULL AS created_given,
        plausible({created_timestamp}) AS created_timestamp,
        fields
    FROM source
)
SELECT
    source_name,
    source_line,
    customer_id,
    created_timestamp,
    fields,
    CASE
        WHEN unreadable THEN 'unreadable_line'
        WHEN customer_id IS NULL THEN 'missing_customer'
        WHEN created_given AND created_timestamp IS NULL THEN 'bad_created_timestamp'
        WHEN coalesce(in_future(created_timestamp), false) THEN 'future_timestamp'
        WHEN lead(true) OVER (
            PARTITION BY customer_id, created_timestamp, created_given, unreadable
            ORDER BY source_name, source_line) THEN 'duplicate_customer'
    END AS reason,
    CASE WHEN reason IS NOT NULL THEN raw_row END AS raw
FROM parsed;
