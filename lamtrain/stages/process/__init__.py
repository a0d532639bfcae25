"""The process: a YAML file of stages, each a command, run in order in a folder; what has not changed is not done again.

kinds (which command, what it reads and leaves) -> spec (the file) -> words (of the command) -> contents, identity (of what it depends on) -> plan (what runs, and why)
-> launch -> run, seen live -> report
"""
