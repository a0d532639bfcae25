"""Bytes -> lines, numbers, records and members of archives: what formats are made of, whatever they hold."""
