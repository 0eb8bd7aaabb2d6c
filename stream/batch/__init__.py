"""Recordings to anonymized files: the stages of a pipeline, without its sockets and clocks."""
