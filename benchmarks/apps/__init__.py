"""The same echo, written for each of the servers that are compared."""
