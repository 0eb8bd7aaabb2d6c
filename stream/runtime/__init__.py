"""The runtime that moves windows from stage to stage: messages, queues, sockets, counters and reports."""
