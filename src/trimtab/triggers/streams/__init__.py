"""Streams: messages of a broker that the user already runs, or of the embedded one, call functions."""
