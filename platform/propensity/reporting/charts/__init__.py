"""The charts of a report, a module each: SVG, and the same numbers as a table."""
