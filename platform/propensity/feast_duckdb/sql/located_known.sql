-- As newest.sql and located.sql, but a row counts only from when it was known: the later of its event time and
-- its creation. The winner is the best of all rows known by then, so that the join needs no second inequality.
CREATE TEMP TABLE $located AS
SELECT instant.pos, candidate.t, UNNEST(candidate.place)
FROM $instants AS instant
ASOF JOIN (
    SELECT id, known_us, UNNEST(rank)
    FROM (
        SELECT
            id,
            known_us,
            max({'t': t, 'c': c, 'place': place}) OVER (
                PARTITION BY id ORDER BY known_us RANGE UNBOUNDED PRECEDING
            ) AS rank
        FROM $candidates
    )
) AS candidate ON instant.id = candidate.id AND instant.event_us >= candidate.known_us
WHERE $alive
