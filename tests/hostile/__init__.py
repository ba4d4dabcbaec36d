"""What somebody hostile may send, at every edge: refused with an error, in bounded memory, while jobs go on."""
