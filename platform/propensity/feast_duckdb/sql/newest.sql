-- For each spine row, the event time of its newest feature row.
CREATE TEMP TABLE $newest AS
SELECT instant.pos, instant.id, candidate.t
FROM $instants AS instant
ASOF JOIN $candidates AS candidate ON instant.id = candidate.id AND instant.event_us >= candidate.t
WHERE $alive
