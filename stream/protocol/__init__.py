"""What publisher and subscribers agree on: messages, certificates, keys, addresses."""
