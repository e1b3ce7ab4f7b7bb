-- The spine as numbers alone. Rows with a NULL key match no feature row.
CREATE TEMP TABLE $instants AS
SELECT entity.id, spine.event_us, spine.pos
FROM $spine AS spine
JOIN $entities AS entity ON $matching
WHERE spine.event_us IS NOT NULL
