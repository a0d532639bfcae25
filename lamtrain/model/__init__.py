"""DPA-2 as mathematics: torch and its own config only; nothing here knows of data, training, files or logging."""
