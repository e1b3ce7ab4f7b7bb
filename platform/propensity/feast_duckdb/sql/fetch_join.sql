LEFT JOIN $located AS located_$index ON located_$index.pos = spine.pos
LEFT JOIN (
    SELECT wide.*
    FROM (SELECT $row_id AS row_id, $features FROM $source AS src WHERE $within) AS wide
    SEMI JOIN $located AS wanted ON wanted.row_id = wide.row_id
) AS view_$index ON view_$index.row_id = located_$index.row_id
