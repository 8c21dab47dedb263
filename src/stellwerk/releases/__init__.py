"""Permission: policies, verdicts, releases with leases, and the signal that callers see."""
