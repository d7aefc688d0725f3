"""The experiment's settings: `schema` declares them, `load` reads and checks the file."""
