"""One replica: load a handler, turn a request into an Event, invoke, answer, emit, drain."""
