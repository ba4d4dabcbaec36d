"""Fixed data for every page in the states that matter: for looking at, for browser tests and for the documents."""
