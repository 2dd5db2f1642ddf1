"""Reports of the bridge about itself, bridge requests, logging, and periodic work."""
