"""The pure half of replication: types, encodings, rules and the role machine. No socket, file, clock or randomness."""
