-- Of the rows that share this event time, the one created last, then the one in the last place, wins: the greatest of
-- creation and place as one 128-bit number, which is compared several times faster than a struct.
CREATE TEMP TABLE $located AS
SELECT pos, t, $winner
FROM (
    SELECT pos, t, (rank & 9223372036854775807)::BIGINT AS winner
    FROM (
        SELECT
            newest.pos,
            any_value(newest.t) AS t,
            max($created_us::HUGEINT * 9223372036854775808 + $place_number) AS rank
        FROM $source AS src
        JOIN $entities AS entity ON $matching
        JOIN $newest AS newest ON newest.id = entity.id AND newest.t = $event_us
        WHERE $within_newest
        GROUP BY newest.pos
    )
)
