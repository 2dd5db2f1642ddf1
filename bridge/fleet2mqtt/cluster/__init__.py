"""Cluster: nodes on PostgreSQL; membership, leases, pushes and commands that outlive the node that received them."""
