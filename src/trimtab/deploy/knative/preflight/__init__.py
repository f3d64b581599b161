"""What must be true of a cluster before a function is deployed to it: checked before anything changes, with what to do."""
