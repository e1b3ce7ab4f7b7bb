-- Macros that read what sources hold, as text or typed. A value that can't be read is NULL, never an aborted import.
CREATE OR REPLACE TEMP MACRO tidy(field) AS
    nullif(trim(field::VARCHAR, ' ' || chr(9) || chr(10) || chr(13) || chr(160)), '');

-- Only these spellings: DuckDB's own cast to TIMESTAMP drops an offset without a word, and knows 'infinity'.
CREATE OR REPLACE TEMP MACRO instant_of_text(written, zone) AS
    CASE
        WHEN regexp_full_match(
            written,
            '\d{4}-\d{1,2}-\d{1,2}[Tt ]\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?\s*([Zz]|UTC|[+-][01]\d(:?[0-5]\d)?)')
            THEN TRY(try_cast(
                regexp_replace(
                    regexp_replace(
                        regexp_replace(replace(replace(written, ',', '.'), 't', 'T'), '\s*([Zz]|UTC)$', '+00'),
                        '\s*([+-]\d{2}(:?\d{2})?)$', '\1'),
                    '([T ]\d{1,2}:\d{2})([+-]\d{2}(:?\d{2})?)$', '\1:00\2') AS TIMESTAMPTZ))
        WHEN regexp_full_match(
            written, '\d{4}-\d{1,2}-\d{1,2}([Tt ]\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?)?')
            THEN TRY(timezone(zone, try_cast(replace(replace(written, ',', '.'), 't', 'T') AS TIMESTAMP)))
    END;

-- Before 1970 is a placeholder such as 0001-01-01 or 1900-01-01, not a shopping trip.
CREATE OR REPLACE TEMP MACRO plausible(instant) AS
    CASE WHEN instant >= TIMESTAMPTZ '1970-01-01 00:00:00+00' THEN instant END;

CREATE OR REPLACE TEMP MACRO in_future(instant) AS instant > now() + INTERVAL 1 DAY;

-- Whether a number was given that is none: text, infinite, or not a number.
CREATE OR REPLACE TEMP MACRO bad_number(field) AS
    tidy(field) IS NOT NULL AND NOT coalesce(isfinite(try_cast(tidy(field) AS DOUBLE)), false);

CREATE OR REPLACE TEMP MACRO bad_flag(field) AS
    tidy(field) IS NOT NULL AND try_cast(tidy(field) AS BOOLEAN) IS NULL;
