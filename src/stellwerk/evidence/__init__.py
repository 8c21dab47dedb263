"""What is measured about a digest: checks and statistics, plans, attestations."""
