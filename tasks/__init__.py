"""Tasks whose answers a program can check. Nothing here imports torch; heavy libraries are imported where they are used."""
