-- As locate.sql, but a row counts only from when it was known: the later of its event time and its creation.
-- best is the winner among all rows known by then, so that the join needs no second inequality.
CREATE TEMP TABLE $located AS
SELECT spine.pos, feature.rank.r AS row_id
FROM (SELECT * FROM $spine WHERE event_us IS NOT NULL) AS spine
ASOF JOIN (
    SELECT
        $key_names known_at,
        max(rank) OVER ($partition ORDER BY known_at RANGE UNBOUNDED PRECEDING) AS rank
    FROM (
        SELECT
            $source_keys greatest($event_us, $created_us) AS known_at,
            {'t': $event_us, 'c': $created_us, 'r': $row_id} AS rank
        FROM $source AS src
        $only_spine_keys
        WHERE $within AND $created_within
    )
) AS feature
    ON $equal_keys spine.event_us >= feature.known_at
WHERE $alive
