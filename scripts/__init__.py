"""What the Makefile's targets run before the project itself can run: `environment` first, `lock` when pins move."""
