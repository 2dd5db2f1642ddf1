"""HTTP pushes from vendors."""
