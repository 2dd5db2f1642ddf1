"""The simulator of a Sangfor AC, from the vendor's document alone."""
