"""The inventory file, and files that are replaced as a whole."""
