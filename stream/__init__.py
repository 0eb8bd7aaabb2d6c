"""The line: histogram, anonymize, classify, publish, and the subscriber at its end."""
