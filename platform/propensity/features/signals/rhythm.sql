-- How often the customer comes, how much a visit brings, and since when we know them. One key: the whole customer.
WITH visits AS (
    SELECT
        snapshot,
        customer_id,
        basket_id,
        min(age_days) AS age_days,
        sum(value) AS value,
        sum(discount) AS discount,
        bool_or(local_weekday >= 6) AS weekend
    FROM history
    WHERE event_type = 'purchase'
    GROUP BY ALL
),
counted AS (
    SELECT
        snapshot,
        customer_id,
        min(age_days) AS visit_recency_days,
        count(*) FILTER (age_days < 7) AS visits_7d,
        count(*) FILTER (age_days < 30) AS visits_30d,
        count(*) FILTER (age_days < 90) AS visits_90d,
        (max(age_days) - min(age_days)) / nullif(count(*) - 1, 0) AS visit_gap_mean_days,
        avg(value) FILTER (age_days < 90) AS basket_value_mean_90d,
        sum(value) FILTER (age_days < 30) AS spend_30d,
        sum(value) FILTER (age_days < 90) AS spend_90d,
        sum(discount) FILTER (age_days < 90)
            / nullif(sum(value + discount) FILTER (age_days < 90), 0) AS discount_share_90d,
        avg(weekend::INTEGER) FILTER (age_days < 90) AS weekend_share_90d
    FROM visits
    GROUP BY ALL
)
SELECT
    snapshot,
    customer_id,
    '' AS key,
    tenure_days,
    visit_recency_days,
    visits_7d,
    visits_30d,
    visits_90d,
    visit_gap_mean_days,
    basket_value_mean_90d,
    spend_30d AS total_spend_30d,
    spend_90d AS total_spend_90d,
    discount_share_90d AS total_discount_share_90d,
    weekend_share_90d
FROM spine
LEFT JOIN counted USING (snapshot, customer_id)
