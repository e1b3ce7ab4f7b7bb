-- Of the rows that share this event time, the one created last, then the one in the last place, wins.
CREATE TEMP TABLE $located AS
SELECT newest.pos, newest.t, UNNEST(winner.place)
FROM $newest AS newest
JOIN (
    SELECT id, t, max({'c': c, 'place': place}).place AS place
    FROM (
        SELECT entity.id, $event_us AS t, $created_us AS c, $place AS place
        FROM $source AS src
        JOIN $entities AS entity ON $matching
        WHERE $within_newest
    )
    SEMI JOIN $newest AS newest USING (id, t)
    GROUP BY id, t
) AS winner USING (id, t)
