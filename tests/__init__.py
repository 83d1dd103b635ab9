"""A package, unlike the folders in it: an SDK installs one of this name, which `python -m tests.soak` would find."""
