-- Normalises the view `source` (every column of the event schema, text or typed) against the view `items`, and gives
-- each row the first reason that sets it aside, or NULL. {event_timestamp}, {created_timestamp}: see importing.py.
CREATE OR REPLACE TEMP TABLE checked AS
WITH parsed AS (
    SELECT
        source_name,
        source_line,
        unreadable,
        source.raw AS raw_row,
        tidy(source.customer_id) AS customer_id,
        plausible({event_timestamp}) AS event_timestamp,
        coalesce(lower(tidy(source.event_type)), 'purchase') AS event_type,
        tidy(source.item_id) AS item_id,
        tidy(source.category) AS own_category,
        tidy(source.product_type) AS own_product_type,
        tidy(source.department) AS own_department,
        tidy(source.brand) AS own_brand,
        try_cast(source.quantity AS DOUBLE) AS quantity,
        try_cast(source.value AS DOUBLE) AS value,
        coalesce(try_cast(source.discount AS DOUBLE), 0) AS discount,
        bad_number(source.quantity) OR bad_number(source.value) OR bad_number(source.discount) AS bad_number,
        tidy(source.basket_id) AS basket_id,
        coalesce(try_cast(tidy(source.promoted) AS BOOLEAN), false) AS promoted,
        bad_flag(source.promoted) AS bad_flag,
        tidy(source.campaign_type) AS campaign_type,
        tidy(source.event_id) AS event_id,
        tidy(source.created_timestamp) IS NOT NULL AS created_given,
        plausible({created_timestamp}) AS created_timestamp
    FROM source
)
SELECT
    source_name,
    source_line,
    customer_id,
    event_timestamp,
    event_type,
    parsed.item_id,
    coalesce(own_category, items.category) AS category,
    coalesce(own_product_type, items.product_type) AS product_type,
    coalesce(own_department, items.department) AS department,
    coalesce(own_brand, items.brand) AS brand,
    coalesce(quantity, 1) AS quantity,
    coalesce(value, 0) AS value,
    discount,
    coalesce(basket_id, event_timestamp::VARCHAR) AS basket_id,
    promoted,
    campaign_type,
    event_id,
    created_timestamp,
    CASE
        WHEN unreadable THEN 'unreadable_line'
        WHEN customer_id IS NULL THEN 'missing_customer'
        WHEN event_timestamp IS NULL THEN 'bad_timestamp'
        WHEN created_given AND created_timestamp IS NULL THEN 'bad_created_timestamp'
        WHEN in_future(event_timestamp) OR coalesce(in_future(created_timestamp), false) THEN 'future_timestamp'
        WHEN bad_number THEN 'bad_number'
        WHEN bad_flag THEN 'bad_flag'
        WHEN own_category IS NULL AND parsed.item_id IS NOT NULL AND items.item_id IS NULL THEN 'unknown_item'
        WHEN items.excluded THEN 'not_a_product'
        WHEN event_type NOT IN ('campaign_received', 'coupon_redemption')
            AND coalesce(own_category, items.category) IS NULL THEN 'no_category'
        WHEN event_type = 'purchase' AND quantity <= 0 THEN 'no_quantity'
        WHEN event_type = 'purchase' AND value <= 0 THEN 'no_value'
    END AS reason,
    CASE WHEN reason IS NOT NULL THEN raw_row END AS raw,
    md5_number_lower(raw_row) AS raw_digest
FROM parsed
LEFT JOIN items ON items.item_id = parsed.item_id;
