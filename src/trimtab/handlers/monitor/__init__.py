"""The monitor function: it watches what models are asked and answer, window by window."""
