"""What carries windows from stage to stage: messages, queues, sockets, counters, reports."""
