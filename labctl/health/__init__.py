"""Device health: checks by kind, quarantine and the way back, hooks round leases, the supervised way to the dock."""
