"""What the bridge reports of itself, its own requests, logging, and periodic work."""
