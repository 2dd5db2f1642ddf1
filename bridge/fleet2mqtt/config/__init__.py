"""The configuration: YAML with line numbers, validated as a whole; frozen data with defaults."""
