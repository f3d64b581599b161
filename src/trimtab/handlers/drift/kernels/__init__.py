"""Tests of all features at once: what single columns cannot show, such as a correlation that breaks."""
