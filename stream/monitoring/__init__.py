"""Status, health and metrics of a running pipeline over HTTP."""
