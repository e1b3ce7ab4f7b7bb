-- Coupons redeemed, by the type of campaign they came with.
SELECT snapshot, customer_id, campaign_type AS key, count(*) AS coupon_redemptions_90d
FROM history
WHERE event_type = 'coupon_redemption' AND age_days < 90
GROUP BY ALL
