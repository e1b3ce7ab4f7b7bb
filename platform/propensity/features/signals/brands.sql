-- Items bought by brand.
SELECT snapshot, customer_id, brand AS key, count(*) AS brand_90d
FROM history
WHERE event_type = 'purchase' AND age_days < 90
GROUP BY ALL
