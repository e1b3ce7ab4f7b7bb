-- Winning rows are found again by bare row numbers, which lets DuckDB skip row groups that hold none.
LEFT JOIN (
    SELECT located.pos, $columns
    FROM $located AS located
    JOIN (SELECT $row_id, $features FROM $source AS src WHERE $within) AS wide USING ($row_id_names)
) AS view_$index ON view_$index.pos = spine.pos
