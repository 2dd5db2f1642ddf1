"""The command line: run, check, dump, demo, simulate."""
