"""What `serve run` and `serve deploy` import: typed application builders, no logic."""
