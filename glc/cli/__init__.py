"""Command lines of the console scripts; each module has a main(argv)."""
