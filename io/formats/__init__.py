"""Recording formats, one file each: readers and decoders turn bytes into packets, writers do the reverse."""
