"""What we ask of a cluster's API, over the official client: its configuration and its connections, our words and errors."""
