"""The compiled operators as functions of tensors, each with its first and second derivative; formulas are in the files of `cpp/`."""
