-- The feature rows that can be somebody's newest, as numbers alone; no feature is read here.
-- Rows known by the spine's beginning compete for every spine row alike, so the best one of each key is enough.
CREATE TEMP TABLE $candidates AS
SELECT id, $oldest_us AS known_us, UNNEST(rank)
FROM (
    SELECT entity.id, max({'t': $event_us, 'c': $created_us, 'place': $place}) AS rank
    FROM $source AS src
    JOIN $entities AS entity ON $matching
    WHERE $until_spine
    GROUP BY entity.id
)
UNION ALL
SELECT entity.id, $known_us, UNNEST({'t': $event_us, 'c': $created_us, 'place': $place})
FROM $source AS src
JOIN $entities AS entity ON $matching
WHERE $within_spine
