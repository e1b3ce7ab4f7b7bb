-- Every event that matters for the newest snapshot, with integer instants and a bucket of customers; read once.
CREATE TEMP TABLE staged AS
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
    campaign_type,
    -- md5, not hash(): a rebuild on another DuckDB must put customers into the same buckets.
    (md5_number_lower(customer_id) % $buckets)::INTEGER AS bucket
FROM read_parquet($files)
WHERE epoch_us(event_timestamp) < $end
