"""What run.py and compare.py are made of. Nothing here imports tinycoro."""
