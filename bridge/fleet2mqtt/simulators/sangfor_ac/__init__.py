"""The simulator of a Sangfor AC, from the vendor's document and, where that is cut off, from public sources."""
