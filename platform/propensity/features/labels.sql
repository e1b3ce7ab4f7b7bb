-- The highest class each customer reached in each category within the label window, as lists; a known customer
-- without any is a row of empty lists. `snapshots` (snapshot, as_of_us, end_us), `staged` (see staging.sql) and
-- `classes` (event_type, class) are there already.
WITH known AS (
    SELECT DISTINCT snapshot, customer_id
    FROM (SELECT customer_id, min(known_us) AS known_us FROM staged
          WHERE event_type != 'campaign_received' GROUP BY ALL)
    JOIN snapshots ON known_us <= as_of_us
),
acted AS (
    SELECT snapshot, customer_id, category_index, max(class) AS class
    FROM (SELECT snapshot, customer_id, category, class
          FROM staged JOIN classes USING (event_type) JOIN snapshots ON event_us >= as_of_us
          WHERE event_us < end_us)
    JOIN categories USING (category)
    GROUP BY ALL
)
SELECT
    snapshot,
    customer_id,
    coalesce(list(category_index ORDER BY category_index) FILTER (category_index IS NOT NULL), []) AS label_categories,
    coalesce(list(class ORDER BY category_index) FILTER (category_index IS NOT NULL), []) AS label_classes
FROM known
LEFT JOIN acted USING (snapshot, customer_id)
GROUP BY ALL
ORDER BY snapshot, customer_id
