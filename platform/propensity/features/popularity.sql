-- Customers who acted in each category in the days before each snapshot. It reads what signal files read.
SELECT snapshot, category, count(DISTINCT customer_id) AS customers
FROM category_history
WHERE list_contains($event_types, event_type) AND age_days <= $days
GROUP BY ALL
