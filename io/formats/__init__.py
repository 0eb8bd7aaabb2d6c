"""Recording formats, one file each: readers and decoders turn bytes into packets, writers do the reverse.

A new reader subclasses `Reader` (reader.py), and has a line in `READERS` of io/detect.py. A new writer subclasses
`Writer`, and has a line in `WRITERS` of writer.py.
"""
