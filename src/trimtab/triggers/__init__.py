"""What calls a function: the clock, the broker, streams; with retry, dead letters and redrive."""
