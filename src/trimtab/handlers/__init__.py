"""Handlers that ship with Trimtab: each is an ordinary function of the runtime, and a library beside it."""
