"""The model server: what `kind: serving` runs. `server.Server` is its handler, `model.ModelServer` what users derive from."""
