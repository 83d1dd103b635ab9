"""The commands, one file for each group of them; `main` puts them together."""
