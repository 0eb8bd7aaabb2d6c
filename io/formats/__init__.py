"""One file per recording format: readers and decoders from bytes to packets, and writers."""
