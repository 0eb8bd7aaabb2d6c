"""Lets several processes train as one."""
