-- Macros that read what sources hold, as text or typed. A value that can't be read is NULL, never an aborted import.
CREATE OR REPLACE TEMP MACRO tidy(field) AS
    CASE
        -- The test costs half of what trimming these characters costs, and few fields need it.
        WHEN regexp_matches(field::VARCHAR, '^[\s\x{A0}]|[\s\x{A0}]$')
            THEN nullif(trim(field::VARCHAR, ' ' || chr(9) || chr(10) || chr(13) || chr(160)), '')
        ELSE nullif(field::VARCHAR, '')
    END;

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
    CASE WHEN isfinite(try_cast(field AS DOUBLE)) THEN false ELSE tidy(field) IS NOT NULL END;

CREATE OR REPLACE TEMP MACRO bad_flag(field) AS
    CASE WHEN try_cast(tidy(field) AS BOOLEAN) IS NULL THEN tidy(field) IS NOT NULL ELSE false END;
