"""Command groups of `understudy`: one module a noun, imported when it is used."""
