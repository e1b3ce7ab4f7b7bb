SELECT $columns
FROM $spine AS spine
$joins
ORDER BY spine.pos
