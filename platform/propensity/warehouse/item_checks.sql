-- Normalises the view `source` of items; the last line of an item stands.
CREATE OR REPLACE TEMP TABLE checked AS
WITH parsed AS (
    SELECT
        source_name,
        source_line,
        unreadable,
        source.raw AS raw_row,
        tidy(source.item_id) AS item_id,
        tidy(source.category) AS category,
        tidy(source.product_type) AS product_type,
        tidy(source.department) AS department,
        tidy(source.brand) AS brand,
        coalesce(try_cast(tidy(source.excluded) AS BOOLEAN), false) AS excluded,
        bad_flag(source.excluded) AS bad_flag
    FROM source
)
SELECT
    source_name,
    source_line,
    item_id,
    category,
    product_type,
    department,
    brand,
    excluded,
    CASE
        WHEN unreadable THEN 'unreadable_line'
        WHEN item_id IS NULL THEN 'missing_item'
        WHEN bad_flag THEN 'bad_flag'
        WHEN lead(true) OVER (
            PARTITION BY item_id, unreadable, bad_flag ORDER BY source_name, source_line) THEN 'duplicate_item'
    END AS reason,
    CASE WHEN reason IS NOT NULL THEN raw_row END AS raw
FROM parsed;
