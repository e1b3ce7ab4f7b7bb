-- Complete Journey as the views `items`, `source` and `attributes` that the importers read.
CREATE VIEW items AS
SELECT
    product_id::VARCHAR AS item_id,
    CASE WHEN product_type LIKE 'GASOLINE%' THEN 'FUEL' ELSE nullif(trim(product_category), '') END AS category,
    nullif(trim(product_type), '') AS product_type,
    nullif(trim(department), '') AS department,
    nullif(trim(brand), '') AS brand,
    coalesce(product_category = 'COUPON/MISC ITEMS' AND product_type NOT LIKE 'GASOLINE%', false) AS excluded
FROM products;

-- Bought while the store had the product on display or in its mailer that week. Joined from the keys that were
-- bought: the promotions themselves are 21 million rows.
CREATE TEMP TABLE promoted_lines AS
SELECT DISTINCT product_id, store_id, week
FROM promotions
JOIN (SELECT DISTINCT product_id, store_id, week FROM transactions) USING (product_id, store_id, week);

CREATE VIEW source AS
SELECT
    'transactions' AS source_name,
    file_row_number + 1 AS source_line,
    household_id::VARCHAR AS customer_id,
    transaction_timestamp AS event_timestamp,  -- naive UTC, as importing is told
    'purchase' AS event_type,
    product_id::VARCHAR AS item_id,
    NULL::VARCHAR AS category,
    NULL::VARCHAR AS product_type,
    NULL::VARCHAR AS department,
    NULL::VARCHAR AS brand,
    quantity::DOUBLE AS quantity,
    sales_value AS value,
    retail_disc + coupon_disc + coupon_match_disc AS discount,
    basket_id::VARCHAR AS basket_id,
    promoted_lines.product_id IS NOT NULL AS promoted,
    NULL::VARCHAR AS campaign_type,
    NULL::VARCHAR AS event_id,
    NULL::TIMESTAMPTZ AS created_timestamp,
    to_json(transactions)::VARCHAR AS raw,
    false AS unreadable
FROM transactions
LEFT JOIN promoted_lines USING (product_id, store_id, week)
UNION ALL
-- A redemption carries only a local day: it is known when that day is over.
SELECT
    'coupon_redemptions', row_number() OVER (ORDER BY household_id, redemption_date, coupon_upc, campaign_id),
    household_id::VARCHAR,
    timezone('UTC', timezone(getvariable('local_timezone'), redemption_date + INTERVAL 1 DAY) - INTERVAL 1 MICROSECOND),
    'coupon_redemption', NULL, NULL, NULL, NULL, NULL, 1, 0, 0, coupon_upc::VARCHAR, false, campaign_type, NULL, NULL,
    to_json(coupon_redemptions)::VARCHAR, false
FROM coupon_redemptions
LEFT JOIN campaign_descriptions USING (campaign_id)
UNION ALL
SELECT
    'campaigns', row_number() OVER (ORDER BY campaign_id, household_id),
    household_id::VARCHAR,
    timezone('UTC', timezone(getvariable('local_timezone'), start_date)),
    'campaign_received', NULL, NULL, NULL, NULL, NULL, 1, 0, 0, campaign_id::VARCHAR, false, campaign_type, NULL, NULL,
    to_json(campaigns)::VARCHAR, false
FROM campaigns
JOIN campaign_descriptions USING (campaign_id);

CREATE VIEW attributes AS
SELECT household_id::VARCHAR AS customer_id, attribute, value, NULL::TIMESTAMPTZ AS created_timestamp
FROM (UNPIVOT (SELECT * REPLACE (kids_count::VARCHAR AS kids_count) FROM demographics)
      ON age, income, home_ownership, marital_status, household_size, household_comp, kids_count
      INTO NAME attribute VALUE value);
