-- Every (event time, keys) that occurs in the views, once, in order.
CREATE TEMP TABLE $spine AS
SELECT make_timestamptz(event_us) AS e0, * EXCLUDE (event_us), event_us, row_number() OVER (ORDER BY $order) AS pos
FROM (SELECT DISTINCT * FROM ($rows))
