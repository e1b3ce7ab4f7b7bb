-- Normalises the view `source` (every column of the event schema, text or typed) against the view `items`, and gives
-- each row the first reason that sets it aside, or NULL. {event_timestamp}, {created_timestamp}: see importing.py.
WITH parsed AS (
    SELECT
        source_name,
        source_line,
        nullif(trim(source.customer_id::VARCHAR), '') AS customer_id,
        {event_timestamp} AS event_timestamp,
        coalesce(nullif(trim(source.event_type::VARCHAR), ''), 'purchase') AS event_type,
        nullif(trim(source.item_id::VARCHAR), '') AS item_id,
        nullif(trim(source.category::VARCHAR), '') AS own_category,
        source.product_type::VARCHAR AS own_product_type,
        source.department::VARCHAR AS own_department,
        source.brand::VARCHAR AS own_brand,
        nullif(trim(source.quantity::VARCHAR), '') AS quantity_text,
        nullif(trim(source.value::VARCHAR), '') AS value_text,
        try_cast(source.quantity AS DOUBLE) AS quantity,
        try_cast(source.value AS DOUBLE) AS value,
        coalesce(try_cast(source.discount AS DOUBLE), 0) AS discount,
        nullif(trim(source.basket_id::VARCHAR), '') AS basket_id,
        coalesce(try_cast(source.promoted AS BOOLEAN), false) AS promoted,
        nullif(trim(source.campaign_type::VARCHAR), '') AS campaign_type,
        nullif(trim(source.event_id::VARCHAR), '') AS event_id,
        nullif(trim(source.created_timestamp::VARCHAR), '') AS created_text,
        {created_timestamp} AS created_timestamp
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
        WHEN customer_id IS NULL THEN 'missing_customer'
        WHEN event_timestamp IS NULL THEN 'bad_timestamp'
        WHEN created_text IS NOT NULL AND created_timestamp IS NULL THEN 'bad_created_timestamp'
        WHEN quantity_text IS NOT NULL AND NOT coalesce(isfinite(quantity), false) THEN 'bad_number'
        WHEN value_text IS NOT NULL AND NOT coalesce(isfinite(value), false) THEN 'bad_number'
        WHEN own_category IS NULL AND parsed.item_id IS NOT NULL AND items.item_id IS NULL THEN 'unknown_item'
        WHEN items.excluded THEN 'not_a_product'
        WHEN event_type NOT IN ('campaign_received', 'coupon_redemption')
            AND coalesce(own_category, items.category) IS NULL THEN 'no_category'
        WHEN event_type = 'purchase' AND quantity <= 0 THEN 'no_quantity'
        WHEN event_type = 'purchase' AND value <= 0 THEN 'no_value'
    END AS reason
FROM parsed
LEFT JOIN items ON items.item_id = parsed.item_id
