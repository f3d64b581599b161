"""The Python front: functions as objects, with the names that MLRun's users know."""
