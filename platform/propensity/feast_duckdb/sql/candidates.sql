-- The event times of the spine's keys, as numbers alone; no feature is read here.
-- Rows up to the spine's beginning compete for every spine row alike, so the newest of each key is enough.
CREATE TEMP TABLE $candidates AS
SELECT entity.id, max($event_us) AS t
FROM $source AS src
JOIN $entities AS entity ON $matching
WHERE $until_spine
GROUP BY entity.id
UNION ALL
SELECT entity.id, $event_us
FROM $source AS src
JOIN $entities AS entity ON $matching
WHERE $within_spine
