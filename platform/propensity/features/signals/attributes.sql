-- Customer attributes, one-hot: the key is `attribute=value`.
SELECT snapshot, customer_id, attribute || '=' || value AS key, 1 AS attribute
FROM attribute_history
