"""What is kept on a disk: archives (files that are whole or absent), tables (columns for spreadsheets and notebooks),
lock (one process to a folder), provenance (config.json), checkpoint (what an interrupted run needs to go on)."""
