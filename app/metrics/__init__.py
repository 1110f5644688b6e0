"""What Prometheus is told, on a port of its own (docs/metrics.md); nothing that serves requests imports it."""
