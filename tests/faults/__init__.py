"""What happens to a worker, its broker and its producers, and a program of its own that says what must come out."""
