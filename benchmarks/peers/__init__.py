"""Other toolkits to race against: a worker script for each, run in an environment of its own. See README.md here."""
