"""Where the addresses of colleagues and of machines begin."""

STAFF_PREFIXES = ("/finance", "/staff", "/support")
MACHINE_PREFIXES = ("/webhooks/", "/health/", "/metrics")
