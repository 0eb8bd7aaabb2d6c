"""The attacks: each file one family, from jobs to figures."""
