"""What publishers and subscribers share: message format, certificates, keys, endpoints."""
