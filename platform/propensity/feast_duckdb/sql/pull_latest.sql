-- Keys are ranked alone; only the newest row of each key is then read in full.
SELECT $columns
FROM $source AS src
SEMI JOIN (
    SELECT UNNEST(max({'t': $event_us, 'c': $created_us, 'place': $place}).place)
    FROM $source AS src
    WHERE $within
    $group_by
) AS newest ON $same_row
WHERE $within
