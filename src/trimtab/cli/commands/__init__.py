"""One module per noun that the command line acts on."""
