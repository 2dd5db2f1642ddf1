"""The SDK: building blocks for platforms."""
