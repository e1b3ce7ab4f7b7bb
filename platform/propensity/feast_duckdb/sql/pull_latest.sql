-- Keys are ranked alone; only the newest row of each key is then read in full.
SELECT $columns
FROM $source AS src
SEMI JOIN (
    SELECT max({'t': $event_us, 'c': $created_us, 'r': $row_id}).r AS row_id
    FROM $source AS src
    WHERE $within
    $group_by
) AS newest ON newest.row_id = ($row_id)
WHERE $within
