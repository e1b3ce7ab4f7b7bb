-- Campaigns the retailer sent, by type. Only a campaign's start is an event: its end may lie in the future.
SELECT snapshot, customer_id, campaign_type AS key, count(*) AS campaigns_received_90d
FROM history
WHERE event_type = 'campaign_received' AND age_days < 90
GROUP BY ALL
