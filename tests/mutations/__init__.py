"""Each security control taken away, one by one, in a copy of the tree: the tests of docs/asvs.md must notice."""
