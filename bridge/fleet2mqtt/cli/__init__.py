"""The command line: run, check, dump, alarms, demo, simulate."""
