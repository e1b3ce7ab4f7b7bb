-- Every event that may matter for the newest snapshot, with integer instants; the files are read once.
--
-- Instants are integers (microseconds since 1970, UTC): DuckDB's arithmetic on TIMESTAMPTZ is fifty times slower.
-- known_us is when an event may first be used: strictly after it happened, and not before it was recorded.
SELECT
    customer_id,
    epoch_us(event_timestamp) AS event_us,
    greatest(epoch_us(event_timestamp) + 1, coalesce(epoch_us(created_timestamp), 0)) AS known_us,
    isodow(timezone($timezone, event_timestamp)) AS local_weekday,
    event_type,
    item_id,
    category,
    product_type,
    department,
    brand,
    quantity,
    value,
    discount,
    basket_id,
    promoted,
    campaign_type
FROM read_parquet($files)
WHERE epoch_us(event_timestamp) < $end
