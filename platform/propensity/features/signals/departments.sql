-- Items bought and money spent by department.
SELECT
    snapshot,
    customer_id,
    department AS key,
    count(*) AS department_90d,
    sum(value) AS department_spend_90d
FROM history
WHERE event_type = 'purchase' AND age_days < 90
GROUP BY ALL
