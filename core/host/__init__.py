"""What depends on the machine: files and their modes, processes, addresses, installed packages, the platform."""
