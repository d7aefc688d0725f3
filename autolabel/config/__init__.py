"""Reading and checking an experiment: `schema` holds every setting, `load` reads the file."""
