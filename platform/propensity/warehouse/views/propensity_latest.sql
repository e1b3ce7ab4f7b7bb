-- The scores of each region's newest as_of.
CREATE OR REPLACE VIEW propensity_latest AS
SELECT propensity.*
FROM propensity
SEMI JOIN (
    SELECT region, max(as_of) AS event_timestamp
    FROM runs
    WHERE kind = 'scoring' AND state = 'published'
    GROUP BY region
) AS newest USING (region, event_timestamp)
