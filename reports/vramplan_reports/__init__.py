"""Results for people and scripts: each module turns one kind of result into a sheet (headings, tables, notes) and a
JSON document; `terminal` and `markdown` render any sheet."""
