-- The newest feature row of each spine row: an ASOF join of keys alone, no feature is read here.
-- rank orders rows by event time, then creation, then place: exactly one row wins.
CREATE TEMP TABLE $located AS
SELECT spine.pos, feature.rank.r AS row_id
FROM (SELECT * FROM $spine WHERE event_us IS NOT NULL) AS spine
ASOF JOIN (
    SELECT $source_keys {'t': $event_us, 'c': $created_us, 'r': $row_id} AS rank
    FROM $source AS src
    $only_spine_keys
    WHERE $within
) AS feature
    ON $equal_keys {'t': spine.event_us, 'c': $latest, 'r': $latest} >= feature.rank
WHERE $alive
