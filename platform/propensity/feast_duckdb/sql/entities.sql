-- The distinct keys of the spine, numbered: integers join and sort several times faster than strings.
CREATE TEMP TABLE $entities AS
SELECT $key_names row_number() OVER () AS id
FROM (SELECT DISTINCT $keys FROM $spine AS spine WHERE event_us IS NOT NULL)
