"""What a platform is written with."""
