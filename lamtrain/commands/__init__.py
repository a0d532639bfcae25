"""The commands of `lamtrain`: they parse, call and print; no logic. torch is imported inside them, after the config is known to be good."""
