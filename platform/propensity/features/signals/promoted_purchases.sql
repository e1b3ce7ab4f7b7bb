-- Purchases made while the store promoted the item (on display or in its mailer), and how deep the discounts were.
SELECT
    snapshot,
    customer_id,
    category AS key,
    count(*) FILTER (promoted) AS promoted_purchases_90d,
    sum(discount) / nullif(sum(value) + sum(discount), 0) AS discount_share_90d
FROM category_history
WHERE event_type = 'purchase' AND age_days < 90
GROUP BY ALL
